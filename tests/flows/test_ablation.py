"""Table 2: which experiments run, that an interrupted run resumes, and that the project stays as it is."""

import json
from pathlib import Path

import pytest
from prefect.artifacts import Artifact

from flows import ablation
from flows.support import sandbox
from flows.support.process import CommandError
from stages.core.composition import compose_params
from stages.core.errors import InputError
from stages.report.ablation_table import SEEDS, TRUE_TARGETS
from tests.support import ROOT
from tests.support.experiments import PLACE, SCORES, WHO, Killed, experiments, git, reference


@pytest.fixture
def run(without_engine, monkeypatch):
    """The flow as a function, with two seeds."""
    without_engine(ablation, "try_configuration", "publish_ablation")
    published = {}
    monkeypatch.setattr(ablation, "create_markdown_artifact", lambda key, markdown, **_: published.update({key: markdown}))

    def run() -> dict[str, str]:
        ablation.ablation.fn(2)
        return published

    return run


def test_an_interrupted_run_resumes_and_leaves_the_project_alone(work, server):
    """Through Prefect's own engine: a training fails, the next attempt is killed, the third does what is left."""
    work.fails = {2: CommandError("no pairs"), 4: Killed()}
    with pytest.raises(CommandError, match="no pairs"):
        ablation.ablation(seeds=2)
    work.check()
    (PLACE / ".git" / "index.lock").touch()  # as a kill may leave it
    (PLACE / "models" / "unfinished").mkdir()
    with pytest.raises(Killed):
        ablation.ablation(seeds=2)
    work.check()
    assert (PLACE / "models" / "unfinished").exists()
    ablation.ablation(seeds=2)
    work.check()
    models = len(ablation.CONFIGURATIONS) * 2
    assert work.scored == models
    assert work.trained[1] == work.trained[2]
    assert work.trained[3] == work.trained[4]
    assert len(work.trained) == models + 2
    assert sorted(experiments()) == sorted(set(work.trained))
    assert not PLACE.exists()
    assert Artifact.get("ablation").data == Path("reports/latest/ablation.md").read_text()


def test_every_row_has_three_seeds_by_default():
    assert (ablation.ablation.parameters.properties["seeds"]["default"], SEEDS) == (3, 3)


def test_true_targets_are_a_row_of_the_embedded_world_alone(work, run):
    work.choose("source=folder", "ingest.source.path=photos")
    table = run()["ablation"]
    assert len(work.trained) == len(ablation.CONFIGURATIONS) * 2 - 2
    assert not [name for name in work.trained if TRUE_TARGETS in name]
    assert "true targets" not in table
    assert "bad pairs kept" in table


def test_changed_inputs_start_over_and_other_changes_do_not(work, run, monkeypatch):
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["paper"])
    monkeypatch.setattr(ablation, "publish_ablation", lambda *_: None)
    run()
    whole = 2
    assert len(work.trained) == whole
    Path("README.md").write_text("new")
    git("add", "README.md")
    git(*WHO, "commit", "--quiet", "--message", "words", "README.md")
    run()
    assert len(work.trained) == whole
    work.choose("seed=2")
    run()
    assert len(work.trained) == 2 * whole
    assert sorted(experiments()) == ["ablation-paper-0", "ablation-paper-1"]  # those below the other commit were replaced
    before = ablation.source_digest
    for stage in ("segment", "ablation"):
        monkeypatch.setattr(
            ablation, "source_digest", lambda file, stage=stage: before(file) + stage * (Path(file).stem == stage)
        )
        run()
    assert len(work.trained) == 4 * whole
    monkeypatch.setattr(ablation, "pipeline_digest", lambda _: "of other data")
    run()
    assert len(work.trained) == 5 * whole


def test_rows_of_an_earlier_release_leave_nothing(work, run, monkeypatch):
    """An experiment of one's own stays, whatever its name."""
    monkeypatch.setattr(ablation, "publish_ablation", lambda *_: None)
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["guided", "paper"])
    run()
    commit = git("rev-parse", "HEAD")
    git("update-ref", reference(commit, "ablation-mine-0"), commit)
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["paper"])
    run()
    assert sorted(experiments()) == ["ablation-mine-0", "ablation-paper-0", "ablation-paper-1"]
    assert sorted(path.name for path in Path("logs/ablation").glob("*-*.json")) == ["paper-0.json", "paper-1.json"]


def test_an_uncommitted_change_of_conf_starts_over(work, run, monkeypatch):
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["paper"])
    monkeypatch.setattr(ablation, "publish_ablation", lambda *_: None)
    run()
    path = Path("conf/ablation/paper.yaml")
    path.write_text(path.read_text().replace("local_clip: true", "local_clip: false"))
    monkeypatch.setattr(work, "check", lambda: None)
    run()
    assert len(work.trained) == 4


def test_what_changes_no_byte_starts_nothing_over(work, run, monkeypatch):
    """Who makes the shards, the bounds of a night, a remark in conf/; but experiments are composed with the choice."""
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["paper"])
    monkeypatch.setattr(ablation, "publish_ablation", lambda *_: None)
    run()
    work.choose("execution.engine=serial", "execution.workers=3", "drift.max_ratio=3.0", "upkeep.keep=3")
    with Path("conf/ablation/paper.yaml").open("a") as file:
        file.write("# a remark\n")
    work.status = git("status", "--porcelain")
    run()
    assert len(work.trained) == 2
    assert compose_params("ablation=paper").execution.workers == 3


def test_the_code_that_scores_is_digested():
    digest = ablation.source_digest(str(ROOT / "stages" / "studies" / "ablation.py"))
    assert Path("stages", *ablation.SCORER.split(".")[1:]).with_suffix(".py") == Path("stages/studies/ablation.py")
    assert digest != ablation.source_digest(str(ROOT / "stages" / "train.py"))


def test_a_preset_in_params_alone_is_refused_before_anything_runs(work, run):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("steps: 400", "steps: 700"))
    with pytest.raises(InputError, match=r"^params\.yaml: train\.steps = 700, but conf composes to 400.*iedit configure"):
        run()
    assert work.trained == []


def test_all_rows_are_scored_by_the_parameters_of_the_start(work, run, monkeypatch):
    """A nightly run may change the project's while models are trained."""
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["paper"])
    monkeypatch.setattr(ablation, "publish_ablation", lambda *_: None)
    monkeypatch.setattr(work, "check", lambda: None)
    params = Path("params.yaml")
    work.while_training = lambda: params.write_text(params.read_text().replace("seed: 1", "seed: 3", 1))
    run()
    assert work.scored == 2


def test_two_runs_at_once_are_refused(work, run, monkeypatch):
    monkeypatch.setattr(ablation, "CONFIGURATIONS", ["paper"])
    monkeypatch.setattr(ablation, "publish_ablation", lambda *_: None)

    def second() -> None:
        refusal = rf"^{PLACE}: in use by another run"
        with pytest.raises(InputError, match=refusal), sandbox.open_sandbox(PLACE):
            pytest.fail("it is open twice")

    work.while_training = second
    run()
    assert len(work.trained) == 2


@pytest.mark.parametrize("content", ['{"key":', "[5]", '{"key": "k"}', '{"scores": {}}'])
def test_damaged_scores_are_named(tmp_path, content):
    kept = tmp_path / "paper-0.json"
    assert ablation._read_scores(kept, "k") is None
    kept.write_text(json.dumps({"key": "k", "scores": SCORES}))
    assert ablation._read_scores(kept, "k") == SCORES
    assert ablation._read_scores(kept, "of another start") is None
    kept.write_text(content)
    with pytest.raises(InputError, match=rf"^{kept}: damaged; remove it$"):
        ablation._read_scores(kept, "k")
