"""The weekly flow, called as a function; tests/ops runs it on servers."""

from pathlib import Path

import pytest

from flows import ablation, tables
from flows.support.sandbox import Sandbox
from stages.core.errors import InputError
from stages.core.paths import REPORTS, SNAPSHOT

STUDIES = {
    "stages.studies.generated": "generated/table.md",
    "stages.studies.made_benchmark": "benchmarks/made/table.md",
    "stages.studies.tradeoff": "tradeoff/curves.svg",
}
"""The command of a study → a file that it writes."""


@pytest.fixture
def done(work, without_engine, monkeypatch) -> list[str]:
    """The studies that have run, in their order."""
    done: list[str] = []

    def write(sandbox: Sandbox, study: str, *arguments: str, **_: object) -> None:
        if study == ablation.SCORER:
            work.run(["python", "-m", study, *arguments], folder=sandbox.folder)
            return
        done.append(study)
        assert sandbox.folder == SNAPSHOT
        written = sandbox.folder / REPORTS / STUDIES[study]
        written.parent.mkdir(parents=True)
        written.write_text(f"made by {study}")

    without_engine(ablation, "try_configuration", "publish_ablation")
    without_engine(tables, "edit_generated", "score_benchmark", "publish", "draw_curves")
    monkeypatch.setattr(ablation, "create_markdown_artifact", lambda **_: None)
    monkeypatch.setattr(tables, "create_markdown_artifact", lambda markdown, **_: done.append(f"published: {markdown}"))
    monkeypatch.setattr(tables, "ablation", ablation.ablation.fn)
    monkeypatch.setattr(Sandbox, "run", write)
    return done


def test_tables_are_made_in_a_snapshot_and_brought_back(work, done):
    for file in STUDIES.values():  # of the last week
        (REPORTS / file).parent.mkdir(parents=True)
        (REPORTS / file).with_name("old").touch()
    tables.tables.fn(2)
    generated, benchmark, tradeoff = STUDIES
    published = [f"published: made by {study}" for study in (generated, benchmark)]
    assert done == [generated, benchmark, *published, tradeoff]
    assert work.trained == [f"ablation-{name}-{seed}" for name in ablation.CONFIGURATIONS for seed in range(2)]
    for study, file in STUDIES.items():
        assert [path.name for path in (REPORTS / file).parent.iterdir()] == [Path(file).name]
        assert (REPORTS / file).read_text() == f"made by {study}"
    assert not SNAPSHOT.exists()


def test_a_preset_in_params_alone_is_refused_before_anything_runs(work, done):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("steps: 400", "steps: 700"))
    with pytest.raises(InputError, match=r"^params\.yaml: train\.steps = 700, but conf composes to 400.*iedit configure"):
        tables.tables.fn(2)
    assert (done, work.trained) == ([], [])
