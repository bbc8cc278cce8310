"""When an evaluation counts as done."""

from pathlib import Path

import pytest

from stages.comparison.seal import Finished, find_finished, inputs_digest, put_seal
from stages.core.params import Params
from stages.core.paths import EVALUATION_SEAL, IEDIT, IEDIT_LOSSES, INSTRUCT_PIX2PIX, REPORTS, TRAINING_SET
from tests.support.tiny_corpus import params_for

FINISHED = Finished(edits=24, outcome="models:/iedit/1, champion: the first version")


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def params(models, workplace, monkeypatch) -> Params:
    """Parameters of an evaluation that is done."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for path in (IEDIT / "unet", INSTRUCT_PIX2PIX / "unet", IEDIT_LOSSES, TRAINING_SET / "00000.parquet", REPORTS / "table.md"):
        write(path)
    write(Path("mlflow.db"))
    params = params_for(models)
    put_seal(inputs_digest(params), FINISHED)
    return params


def test_a_finished_evaluation_is_found_and_reported(params, capsys):
    finished = find_finished(params)
    assert finished == FINISHED
    finished.report()
    assert "reused        24" in capsys.readouterr().out


def test_speed_settings_do_not_count(params):
    assert find_finished(params.model_copy(update={"threads": 7})) == FINISHED
    drift, upkeep = params.drift.model_copy(update={"nights": 3}), params.upkeep.model_copy(update={"keep": 3})
    assert find_finished(params.model_copy(update={"drift": drift, "upkeep": upkeep})) == FINISHED


@pytest.mark.parametrize(
    "path", [IEDIT / "unet", INSTRUCT_PIX2PIX / "unet", IEDIT_LOSSES, TRAINING_SET / "00001.parquet", REPORTS / "table.md"]
)
def test_changed_files_are_evaluated_again(params, path):
    write(path, "changed")
    assert find_finished(params) is None


@pytest.mark.parametrize("path", [IEDIT_LOSSES, REPORTS / "table.md", Path("mlflow.db"), EVALUATION_SEAL])
def test_lost_files_are_evaluated_again(params, path):
    path.unlink()
    assert find_finished(params) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"inputs": 1}'])
def test_a_damaged_seal_proves_nothing(params, content):
    write(EVALUATION_SEAL, content)
    assert find_finished(params) is None


def test_other_parameters_stores_and_experiments_count(params, monkeypatch):
    assert find_finished(params.model_copy(update={"seed": 1})) is None
    monkeypatch.setenv("DVC_EXP_NAME", "other")
    assert find_finished(params) is None
    monkeypatch.delenv("DVC_EXP_NAME")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert find_finished(params) is None
