import pytest

from stages.core.params import Params
from tests.support.compared import copy_trained_models, write_cases, write_referee
from tests.support.tiny_corpus import params_for


@pytest.fixture
def params(models, workplace) -> Params:
    """Parameters for four cases and tiny models; the referee differs from the segmenter."""
    write_cases(workplace / "data/evaluation", 4)
    copy_trained_models(models)
    write_referee(models, workplace / "referee")
    return params_for(models, evaluate={"cases": "data/evaluation", "batch": 2}, generated={"referee": {"name": "referee"}})
