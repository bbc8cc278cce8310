"""A whole training that others are compared with."""

import pytest

from tests.support.training import place, tune


@pytest.fixture(scope="package")
def uninterrupted(tools, tmp_path_factory):
    """The weights and the workplace of a training that was never interrupted."""
    workplace = place(tmp_path_factory.mktemp("reference"))
    return tune(tools, workplace), workplace
