"""What the page shows of models."""

import pytest

from stages.serving.calls import ModelVersion
from stages.serving.page.views import model_title


@pytest.mark.parametrize(
    ("reference", "version", "title"),
    [
        ("champion", "3", "champion (version 3)"),
        ("champion", None, "champion"),  # it is not loaded yet
        ("3", "3", "version 3"),
        ("3", None, "version 3"),
        ("base", None, "base"),
    ],
)
def test_versions_are_called_so(reference, version, title):
    assert model_title(ModelVersion(reference=reference, name="iedit", version=version)) == title
