import pytest

from stages.core.params import Params
from tests.support.compared import copy_trained_models, write_cases
from tests.support.tiny_corpus import params_for


@pytest.fixture
def params(models, workplace) -> Params:
    """Parameters for four cases and tiny models."""
    write_cases(workplace / "data/evaluation", 4)
    copy_trained_models(models)
    return params_for(models, evaluate={"cases": "data/evaluation", "batch": 2})
