"""What an evaluation set depends on."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.comparison import standard
from stages.comparison.cases import Case, CaseSet
from stages.comparison.standard import current_standard
from stages.core.params import Params
from stages.core.params_file import read_params
from tests.support import ROOT
from tests.support.editing_inputs import case


@pytest.fixture
def params(monkeypatch) -> Params:
    """The project's parameters, and a single case."""
    monkeypatch.chdir(ROOT)
    cases = [Case(sample=replace(case(), key="1"), shard=Path(), digest="2")]
    monkeypatch.setattr(standard, "read_cases", lambda *_: CaseSet(cases=cases, masks="true"))
    return read_params()


def test_an_equal_set_has_an_equal_name(params):
    first = current_standard(params)
    assert first.cases == ["1"]
    assert current_standard(params).evaluation_set == first.evaluation_set


@pytest.mark.parametrize("change", ["seed", "judge"])
def test_a_set_is_named_by_whatever_decides_a_score(params, change):
    other = params.evaluate.model_copy(update={"judge": params.retrieve.clip})
    changed = params.model_copy(update={"seed": 1} if change == "seed" else {"evaluate": other})
    assert current_standard(changed).evaluation_set != current_standard(params).evaluation_set


def test_sampling_belongs_to_the_version_and_not_to_the_set(params):
    sampling = params.sampling.model_copy(update={"steps": 7})
    changed = params.model_copy(update={"sampling": sampling})
    assert current_standard(changed).evaluation_set == current_standard(params).evaluation_set
