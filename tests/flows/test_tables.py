"""The flows of the tables: what they run, that it is gone on with, and that the project is left as it is."""

import fcntl
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from dvc.repo import Repo
from prefect.artifacts import Artifact

from flows import ablation, tables
from flows.support import sandbox
from flows.support.tasks import CommandError
from stages.core.errors import InputError
from stages.core.params import FolderSource
from stages.core.params_file import read_params
from stages.report.ablation_table import SEEDS, TRUE_TARGETS
from tests.stages.studies.test_trials import FOUND
from tests.support import ROOT

PARAMS = read_params(ROOT / "params.yaml")
MODELS = len(ablation.CONFIGURATIONS) * SEEDS
WHO = ("-c", "user.name=t", "-c", "user.email=t@localhost")
MINE = {
    "params.yaml": "seed: 1\n",
    "dvc.lock": "schema: '2.0'\nstages: {}\n",
    "models/iedit/weights": "mine",
    "stages.txt": "changed",
}


class Killed(BaseException):
    """No code of the project can clean up after it."""


class Work:
    """Stands for the commands: an experiment writes to the sandbox and commits there, and fails where it is told to."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.scored = 0
        self.fails: dict[int, BaseException] = {}
        self.while_training = lambda: None
        self.status = git("status", "--porcelain", "--untracked-files=no")

    def check(self) -> None:
        """See that the project is as it was."""
        assert {name: Path(name).read_text() for name in MINE} == MINE
        assert git("status", "--porcelain", "--untracked-files=no") == self.status
        assert git("stash", "list") == ""

    def run(self, command: list[str], *_: object, held: Sequence[int] = (), environment: object = None) -> None:
        self.check()
        match command[2:]:
            case ["dvc", "--cd", folder, "cache", "dir", *_, cache]:
                assert (Path(folder), Path(cache)) == (PLACE, Path(".dvc/cache").absolute())
            case ["dvc", "--cd", folder, "exp", "run", "--name", name, "-S", chosen, "-S", seed, "train"]:
                assert f"ablation-{chosen.partition('=')[2]}-{seed.partition('=')[2]}" == name
                assert environment == {"MLFLOW_TRACKING_URI": f"sqlite:///{Path('mlflow.db').absolute()}"}
                assert fcntl.fcntl(held[0], fcntl.F_GETFD) >= 0
                self.train(Path(folder), name)
            case ["stages.studies.ablation", "--model", model, file, "iedit", *masked]:
                assert masked in ([], ["iedit_m"])
                assert (Path(model) / "weights").read_text() == self.trained[-1]
                self.scored += 1
                Path(file).write_text(json.dumps(FOUND["paper", 0]))
            case _:
                pytest.fail(f"{command}")

    def train(self, folder: Path, name: str) -> None:
        for path, content in MINE.items():
            if "models" not in path and len(self.trained) == 0:
                assert (folder / path).read_text() == content  # changes that are not committed come along
        assert not (folder / "gone").exists()
        (folder / "params.yaml").write_text("seed: 4\n")
        (folder / ablation.IEDIT).mkdir(parents=True, exist_ok=True)
        (folder / ablation.IEDIT / "weights").write_text(name)
        self.while_training()
        self.trained.append(name)
        if error := self.fails.get(len(self.trained)):
            raise error
        commit = git("-C", str(folder), "rev-parse", "HEAD")
        made = git("-C", str(folder), *WHO, "commit-tree", "-p", "HEAD", "-m", name, "HEAD^{tree}")
        git("-C", str(folder), "update-ref", reference(commit, name), made, "0" * 40)


PLACE = ablation.DONE / "project"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def reference(commit: str, name: str) -> str:
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def experiments() -> list[str]:
    return git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").split()


@pytest.fixture
def work(empty_store, server, tmp_path, monkeypatch) -> Work:
    """A repository with changes that are not committed, and a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("dvc.yaml", ".gitignore"):
        shutil.copy(ROOT / name, name)
    shutil.copytree(ROOT / "conf", "conf")
    git("init", "--quiet")
    Repo.init().close()
    for name in (*MINE, "gone"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}")
    git("add", "--all")
    git(*WHO, "commit", "--quiet", "--message", "start")
    for name, content in MINE.items():
        Path(name).write_text(content)
    Path("gone").unlink()
    shutil.copy(empty_store, tmp_path)
    work = Work()
    monkeypatch.setattr(sandbox, "run_logged", work.run)
    monkeypatch.setattr(ablation, "read_params", lambda: PARAMS)  # params.yaml here stands for any
    return work


def test_experiments_that_are_done_are_not_done_again_and_the_project_is_left_as_it_is(work):
    work.fails = {4: CommandError("no pairs"), 6: Killed()}
    with pytest.raises(CommandError, match="no pairs"):
        ablation.ablation()
    work.check()
    (PLACE / ".git" / "index.lock").touch()  # as a kill may leave it
    (PLACE / "models" / "unfinished").mkdir()
    with pytest.raises(Killed):
        ablation.ablation()
    work.check()
    assert (PLACE / "models" / "unfinished").exists()
    ablation.ablation()
    work.check()
    assert work.scored == MODELS
    assert work.trained[3] == work.trained[4]
    assert work.trained[5] == work.trained[6]
    assert len(work.trained) == MODELS + 2
    assert sorted(experiments()) == sorted(set(work.trained))
    assert not PLACE.exists()
    assert Artifact.get("ablation").data == Path("reports/latest/ablation.md").read_text()


def test_true_targets_are_a_row_of_the_embedded_world_alone(work, monkeypatch):
    photos = PARAMS.ingest.model_copy(update={"source": FolderSource(kind="folder", path="photos")})
    monkeypatch.setattr(ablation, "read_params", lambda: PARAMS.model_copy(update={"ingest": photos}))
    ablation.ablation(seeds=2)
    assert len(work.trained) == MODELS // SEEDS * 2 - 2
    assert not [name for name in work.trained if TRUE_TARGETS in name]
    told = Path("reports/latest/ablation.md").read_text()
    assert "true targets" not in told
    assert "bad pairs kept" in told


def test_changes_of_what_decides_the_scores_start_over_and_no_others(work, monkeypatch):
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["paper"])
    monkeypatch.setattr(ablation, "publish_ablation", lambda *_: None)
    ablation.ablation(seeds=2)
    whole = 2
    assert len(work.trained) == whole
    Path("README.md").write_text("new")
    git("add", "README.md")
    git(*WHO, "commit", "--quiet", "--message", "words", "README.md")
    ablation.ablation(seeds=2)
    assert len(work.trained) == whole
    monkeypatch.setitem(MINE, "params.yaml", "seed: 2\n")
    Path("params.yaml").write_text(MINE["params.yaml"])
    ablation.ablation(seeds=2)
    assert len(work.trained) == 2 * whole
    before = ablation.source_digest
    for stage in ("segment", "ablation"):
        monkeypatch.setattr(
            ablation, "source_digest", lambda file, stage=stage: before(file) + stage * (Path(file).stem == stage)
        )
        ablation.ablation(seeds=2)
    assert len(work.trained) == 4 * whole
    monkeypatch.setattr(ablation, "pipeline_digest", lambda _: "of other data")
    ablation.ablation(seeds=2)
    assert len(work.trained) == 5 * whole


def test_a_change_of_conf_starts_over_though_it_is_not_committed(work, monkeypatch):
    ablation.ablation(seeds=2)
    path = Path("conf/ablation/paper.yaml")
    path.write_text("# @package _global_\ntrain: { steps: 5 }\n")
    monkeypatch.setattr(work, "check", lambda: None)
    ablation.ablation(seeds=2)
    assert len(work.trained) == len(ablation.CONFIGURATIONS) * 4


def test_rows_are_not_scored_by_different_parameters(work, monkeypatch):
    monkeypatch.setattr(work, "check", lambda: None)
    work.while_training = lambda: Path("params.yaml").write_text("seed: 3\n")
    with pytest.raises(InputError, match=r"^params\.yaml, or the code that scores, was changed"):
        ablation.ablation(seeds=2)
    assert list(ablation.DONE.glob("*-0.json")) == []


def test_two_at_once_are_refused(work):
    def second() -> None:
        told = rf"^{PLACE}: another run, or what is left of it, is at work there"
        with pytest.raises(InputError, match=told), sandbox.open_sandbox(PLACE):
            pytest.fail("it is open twice")

    work.while_training = second
    ablation.ablation(seeds=2)
    assert len(work.trained) == len(ablation.CONFIGURATIONS) * 2


def test_a_folder_without_a_commit_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    told = r"^git rev-parse --verify HEAD: fatal: Needed a single revision$"
    with pytest.raises(InputError, match=told), sandbox.open_sandbox(PLACE):
        pytest.fail("there is nothing to run")


def test_the_tables_are_both_evaluations_the_curves_and_the_ablation(work, monkeypatch):
    done = []
    monkeypatch.setattr(tables, "run_stages", lambda names, forced: done.append((names, forced)))
    monkeypatch.setattr(tables, "publish_results", lambda: done.append("published"))
    monkeypatch.setattr(tables, "publish_generated", lambda: done.append("published too"))
    monkeypatch.setattr(tables, "run_logged", lambda command, **_: done.append(command[1:]))
    tables.tables(seeds=2)
    made_up, curves = ["-m", "stages.studies.generated"], ["-m", "stages.studies.tradeoff"]
    assert done == [(["evaluate"], ["evaluate"]), "published", made_up, "published too", curves]
    assert work.trained == [f"ablation-{name}-{seed}" for name in ablation.CONFIGURATIONS for seed in range(2)]


@pytest.mark.parametrize("content", ['{"key":', "[5]", '{"key": "k"}', '{"scores": {}}'])
def test_damaged_scores_of_an_experiment_are_told_with_their_file(tmp_path, content):
    kept = tmp_path / "paper-0.json"
    assert ablation._read_scores(kept, "k") is None
    kept.write_text(json.dumps({"key": "k", "scores": FOUND["paper", 0]}))
    assert ablation._read_scores(kept, "k") == FOUND["paper", 0]
    assert ablation._read_scores(kept, "of another start") is None
    kept.write_text(content)
    with pytest.raises(InputError, match=rf"^{kept}: damaged; remove it$"):
        ablation._read_scores(kept, "k")


@pytest.mark.parametrize(
    "arguments", [[], ["scores.json"], ["--model", "nowhere", "f", "iedit"], ["--model", ".", "f"], ["--model", ".", "f", "x"]]
)
def test_the_command_that_scores_is_told_what_it_lacks_before_anything_else(tmp_path, monkeypatch, capsys, arguments):
    from stages.studies import ablation as scoring

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ablation", *arguments])
    with pytest.raises(SystemExit) as ended:
        scoring.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m stages.studies.ablation")
    assert list(tmp_path.iterdir()) == []
