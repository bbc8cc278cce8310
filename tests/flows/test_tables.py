"""The weekly flow, called as a function; tests/ops runs it on servers."""

from pathlib import Path

import pytest

from flows import ablation, tables
from stages.core.errors import InputError


@pytest.fixture
def done(work, without_engine, monkeypatch) -> list[object]:
    """The steps of the flow before the ablation, in their order."""
    done: list[object] = []
    without_engine(ablation, "try_configuration", "publish_ablation")
    without_engine(tables, "edit_generated", "draw_curves")
    monkeypatch.setattr(ablation, "create_markdown_artifact", lambda **_: None)
    monkeypatch.setattr(tables, "ablation", ablation.ablation.fn)
    monkeypatch.setattr(tables, "run_stages", lambda names, forced: done.append((names, forced)))
    monkeypatch.setattr(tables, "publish_results", lambda: done.append("published"))
    monkeypatch.setattr(tables, "publish_generated", lambda: done.append("published too"))
    monkeypatch.setattr(tables, "run_logged", lambda command, **_: done.append(command[1:]))
    return done


def test_tables_are_evaluations_curves_and_ablation(work, done):
    tables.tables.fn(2)
    generated, curves = ["-m", "stages.studies.generated"], ["-m", "stages.studies.tradeoff"]
    assert done == [(["evaluate"], ["evaluate"]), "published", generated, "published too", curves]
    assert work.trained == [f"ablation-{name}-{seed}" for name in ablation.CONFIGURATIONS for seed in range(2)]


def test_a_preset_in_params_alone_is_refused_before_anything_runs(work, done):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("steps: 400", "steps: 700"))
    with pytest.raises(InputError, match=r"^params\.yaml: train\.steps = 700, but conf composes to 400.*iedit configure"):
        tables.tables.fn(2)
    assert (done, work.trained) == ([], [])


def test_the_table_of_generated_sources_is_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reports/latest/generated").mkdir(parents=True)
    Path("reports/latest/generated/table.md").write_text("| a table |")
    published = {}
    monkeypatch.setattr(tables, "create_markdown_artifact", lambda key, markdown, **_: published.update({key: markdown}))
    tables.publish_generated.fn()
    assert published == {"generated": "| a table |"}
