import pytest

from stages.metrics.summary import summarise
from tests.support.results import MODELS, SCORES


@pytest.fixture(scope="package")
def metrics():
    """The content of metrics.json for SCORES."""
    return summarise(SCORES, resamples=50, seed=0, models=MODELS)
