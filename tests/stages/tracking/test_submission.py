"""From an evaluation to the registry."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from stages.core.files import read_json, write_text
from stages.core.params_file import read_params
from stages.core.paths import DATASET_PAGE, LAST_STORE
from stages.tracking import submission
from stages.tracking.registry import CASES
from tests.support.registered import train

METRICS = {
    "cases_digest": "c" * 64,
    "systems": {"sdedit": {"clip_score": 50.0}, "iedit_m": {"clip_score": 61.5, "ssim_m_bar": None}},
}


@pytest.fixture
def trained(folder) -> str:
    """The run that trained the model."""
    with train(read_params(), folder) as run:
        run.finish("m" * 64)
    return run.run_id


def test_evaluation_is_logged_to_the_training_run(client, folder, trained):
    for name in ("metrics.json", "report.html", "sheet.png"):
        (folder / name).write_text(name)
    assert submission.log_evaluation(trained, METRICS, folder, read_params()) == trained
    logged = client.get_run(trained).data.metrics
    assert logged == {"evaluate/sdedit/clip_score": 50, "evaluate/iedit_m/clip_score": 61.5}
    assert logged_files(client, trained) == {"metrics.json", "report.html", "sheet.png"}
    write_text(DATASET_PAGE, "what the model was trained on")
    submission.log_evaluation(trained, METRICS, folder, read_params())
    assert logged_files(client, trained) == {"metrics.json", "report.html", "sheet.png", "dataset.html"}


def logged_files(client, run: str) -> set[str]:
    return {Path(item.path).name for item in client.list_artifacts(run, "evaluate")}


def test_without_a_training_run_nothing_is_logged(folder):
    assert submission.log_evaluation(None, METRICS, folder, read_params()) is None


def test_version_gets_the_scores_of_the_served_system(monkeypatch):
    given = {}
    monkeypatch.setattr(submission, "register", lambda *folders, **options: given.update(options, folders=folders))
    picture = Image.new("RGB", (8, 8))
    case = SimpleNamespace(source=picture, edit_prompt="a dog", target_diff="dog", source_diff="cat")
    submission.register_evaluated(Path("model"), Path("segmenter"), trained_by="r", metrics=METRICS, case=case)
    assert given["folders"] == (Path("model"), Path("segmenter"))
    assert given["metrics"] == {"iedit_m/clip_score": 61.5}
    assert given["tags"] == {CASES: "c" * 64}
    assert (given["run_id"], given["example"].term, given["example"].source_term) == ("r", "dog", "cat")


def test_the_store_of_a_version_is_noted_with_its_record(folder, monkeypatch):
    for name in ("save_scores", "save_card", "save_record", "describe_models"):
        monkeypatch.setattr(submission, name, lambda *_: {})
    version, standard = SimpleNamespace(model_id="m-1"), SimpleNamespace(evaluation_set="a" * 64, cases=[])
    submission.keep_with_version(version, standard, {}, read_params(), "# A card")
    assert read_json(LAST_STORE) == {"store": "mlflow.db", "model": "m-1"}


def test_seconds_are_printed_kept_and_logged(client, folder, trained, capsys):
    submission.log_seconds({"iedit_m": 1.234}, {"iedit_m": "iEdit-M"}, trained)
    assert capsys.readouterr().out.splitlines()[-1] == "seconds per edit: iEdit-M 1.23"
    assert read_json(submission.SECONDS) == {"iedit_m": 1.234}
    assert client.get_run(trained).data.metrics == {"evaluate/iedit_m/seconds_per_edit": 1.234}
