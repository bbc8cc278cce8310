"""The flows of the tables: what they run, that it is gone on with, and that the project is put back."""

import json
import shutil
from pathlib import Path

import pytest
from prefect.artifacts import Artifact

from flows import ablation, tables
from stages.errors import InputError
from stages.report.ablation import SEEDS
from tests.test_trials import FOUND

MODELS = len(ablation.CONFIGURATIONS) * SEEDS


class Work:
    """Stands for the commands: an experiment changes params.yaml and dvc.lock, and fails where it is told to."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.checkouts = 0
        self.fails_at = 0

    def dvc(self, *arguments: str, **_: object) -> None:
        if arguments[0] == "checkout":
            self.checkouts += 1
            return
        assert arguments[:4] == ("exp", "run", "--force", "--name")
        assert arguments[-1] == "train"
        for name in ("params.yaml", "dvc.lock"):
            Path(name).write_text("the experiment's")
        self.trained.append(arguments[4])
        if len(self.trained) == self.fails_at:
            raise InputError("no pairs")

    def run(self, command: list[str], **_: object) -> None:
        if command[0] == "git":
            assert command[1:] == ["reset", "--quiet", "--", "params.yaml", "dvc.lock"]
            return
        assert command[1:3] == ["-m", "stages.ablation"]
        Path(command[3]).parent.mkdir(parents=True, exist_ok=True)
        Path(command[3]).write_text(json.dumps(FOUND["full", 0]))


@pytest.fixture
def work(empty_store, server, tmp_path, monkeypatch) -> Work:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path)
    Path("params.yaml").write_text("mine")
    Path("reports").mkdir()
    work = Work()
    monkeypatch.setattr(ablation, "run_dvc", work.dvc)
    monkeypatch.setattr(ablation, "run_logged", work.run)
    return work


def is_put_back() -> bool:
    return Path("params.yaml").read_text() == "mine" and not Path("dvc.lock").exists()


def test_experiments_that_are_done_are_not_done_again_and_the_folder_is_put_back(work, monkeypatch):
    work.fails_at = 4
    with pytest.raises(InputError, match="no pairs"):
        ablation.ablation()
    assert is_put_back()
    work.fails_at = 6
    with monkeypatch.context() as patch:
        patch.setattr(ablation, "_restore", lambda: None)  # as a kill leaves it
        with pytest.raises(InputError):
            ablation.ablation()
    assert not is_put_back()
    work.fails_at = 0
    ablation.ablation()
    assert is_put_back()
    assert work.checkouts == 3
    assert len(work.trained) == MODELS + 2
    assert len(set(work.trained)) == MODELS
    assert Artifact.get("ablation").data == Path("reports/ablation.md").read_text()
    Path("params.yaml").write_text("other")
    ablation.ablation(seeds=2)
    assert len(work.trained) == MODELS + 2 + len(ablation.CONFIGURATIONS) * 2


def test_the_tables_are_the_evaluation_the_curves_and_the_ablation(work, monkeypatch):
    done = []
    monkeypatch.setattr(tables, "run_stages", lambda names, forced: done.append((names, forced)))
    monkeypatch.setattr(tables, "publish_results", lambda: done.append("published"))
    monkeypatch.setattr(tables, "run_logged", lambda command, **_: done.append(command[1:]))
    tables.tables(seeds=2)
    assert done == [(["evaluate"], ["evaluate"]), "published", ["-m", "stages.tradeoff"]]
    assert work.trained == [f"ablation-{name}-{seed}" for name in ablation.CONFIGURATIONS for seed in range(2)]


@pytest.mark.parametrize("content", ['{"key":', "[5]", '{"key": "k"}', '{"scores": {}}'])
def test_damaged_scores_of_an_experiment_are_told_with_their_file(tmp_path, content):
    kept = tmp_path / "full-0.json"
    assert ablation._read_scores(kept, "k") is None
    kept.write_text(json.dumps({"key": "k", "scores": FOUND["full", 0]}))
    assert ablation._read_scores(kept, "k") == FOUND["full", 0]
    assert ablation._read_scores(kept, "of another start") is None
    kept.write_text(content)
    with pytest.raises(InputError, match=rf"^{kept}: damaged; remove it$"):
        ablation._read_scores(kept, "k")
