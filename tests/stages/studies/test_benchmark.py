"""The benchmark: what it compares, and that it tells a ratio with its spread for each."""

import re
import shutil
from itertools import product
from pathlib import Path

import pytest

from stages.diffusion import sampling
from stages.editing.editor import Editor
from stages.studies import benchmark as stage
from tests.stages.training import test_training as harness

tools = harness.tools
RATIO = re.compile(r"\d+\.\d{3}s +\d+\.\d{3}s  (\d+\.\d{3}) \((\d+\.\d{3}) to (\d+\.\d{3})\)$")


@pytest.fixture
def lines(tools, tmp_path, monkeypatch, capsys) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "ROUNDS", 2)
    monkeypatch.setattr(stage, "TIMED", 2)
    harness.write_training_set(Path("data/training"), {"00000": [0, 1, 2]})
    shutil.copytree(tools.folder / "base", "models/iedit")
    params = harness.params_for(tools.folder)
    stage._compare_edits(params)
    stage._compare_training_steps(params)
    return capsys.readouterr().out.splitlines()


def test_every_row_has_times_and_a_ratio_within_its_spread(lines):
    found = [match for line in lines if (match := RATIO.search(line))]
    assert len(found) == 10 + 3
    for match in found:
        ratio, lowest, highest = map(float, match.groups())
        assert 0 < lowest <= ratio <= highest
    rows = [re.split(r"  +", line[: match.start()].strip()) for line in lines if (match := RATIO.search(line))]
    ddim = ["ddim, 25 steps", "ddim, 50 steps"]
    assert [row[1:] for row in rows[:5]] == [["none", "dpmsolver++, 2 steps"], *map(list, product(["none", "predicted"], ddim))]
    assert [row[0] for row in rows[10:]] == ["Eq 12 on every picture", "Eq 12 on 25% of the pictures", "params.yaml"]


def test_an_edit_does_the_steps_of_its_row(tools, tmp_path, monkeypatch):
    asked = []
    make = sampling.make_scheduler
    monkeypatch.setattr(
        "stages.comparison.systems.make_scheduler", lambda solver, model: asked.append(solver) or make(solver, model)
    )
    modes = []
    edit = Editor.edit
    monkeypatch.setattr(Editor, "edit", lambda *given, **named: modes.append(named["mask_mode"]) or edit(*given, **named))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "ROUNDS", 1)
    harness.write_training_set(Path("data/training"), {"00000": [0]})
    shutil.copytree(tools.folder / "base", "models/iedit")
    stage._compare_edits(harness.params_for(tools.folder))
    assert asked == ["dpmsolver++", "ddim", "ddim", "ddim", "ddim"] * 2
    assert modes == (["none"] * 6 + ["predicted"] * 4) * 2  # each once to warm up
