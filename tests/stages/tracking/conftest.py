"""Fixtures for the tests of the tracking store."""

import shutil
from pathlib import Path

import pytest

from tests.support import ROOT


@pytest.fixture
def folder(client, tmp_path) -> Path:
    """The current folder, with a store of its own and the project's params.yaml."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path
