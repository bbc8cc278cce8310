"""The benchmark: what it compares, and a ratio with its spread in every row."""

import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.comparison import systems
from stages.core.paths import CORPUS, TRAINING_SET
from stages.editing.editor import Editor
from stages.studies import benchmark
from tests.support.compared import copy_trained_models
from tests.support.tiny_corpus import params_for
from tests.support.training import write_pictures, write_training_set

ROW = re.compile(r"^\| (.*) \| \d+\.\d{3} s \| \d+\.\d{3} s \| (\d+\.\d{3}) \((\d+\.\d{3}) to (\d+\.\d{3})\) \|$")
ROUNDS = 2


@pytest.fixture(scope="module")
def run(models, tmp_path_factory) -> SimpleNamespace:
    """A short benchmark: the file, what was printed, and which solvers and masks were asked for."""
    found = SimpleNamespace(solvers=[], modes=[])
    make, edit = systems.make_scheduler, Editor.edit
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("benchmark"))
        patch.setattr(benchmark, "ROUNDS", ROUNDS)
        patch.setattr(benchmark, "TIMED", 2)
        patch.setattr(benchmark, "DDIM_STEPS", (2, 3))
        patch.setattr(systems, "make_scheduler", lambda solver, *given: found.solvers.append(solver) or make(solver, *given))
        patch.setattr(Editor, "edit", lambda *given, **named: found.modes.append(named["mask_mode"]) or edit(*given, **named))
        printed = []
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        write_pictures(CORPUS)
        write_training_set(TRAINING_SET, {"00000": [0, 1, 2]})
        copy_trained_models(models)
        benchmark.benchmark(params_for(models, train={"accumulation": 1}))
        found.lines = Path("reports/latest/benchmark.md").read_text().splitlines()
    found.printed = printed
    return found


def test_every_row_has_times_and_a_ratio(run):
    rows = [match for line in run.lines if (match := ROW.match(line))]
    assert len(rows) == 10 + 3
    for row in rows:
        ratio, lowest, highest = map(float, row.groups()[1:])
        assert 0 < lowest <= ratio <= highest
    named = [row[1].split(" | ") for row in rows]
    ddim = ["ddim, 2 steps", "ddim, 3 steps"]
    assert [row[1:] for row in named[:5]] == [
        ["none", "dpmsolver++, 2 steps"],
        *map(list, product(["none", "predicted"], ddim)),
    ]
    assert [row[0] for row in named[:10]] == ["1"] * 5 + ["4"] * 5
    assert [row[0] for row in named[10:]] == ["Eq 12 on every picture", "Eq 12 on 25% of the pictures", "params.yaml"]


def test_rows_are_printed_as_they_are_written(run):
    assert [line for line in run.printed if line in set(run.lines)] == run.lines


def test_an_edit_does_the_steps_of_its_row(run):
    assert run.solvers == ["dpmsolver++", "ddim", "ddim", "ddim", "ddim"] * 2
    edits = 1 + ROUNDS  # one to warm up
    assert run.modes == (["none"] * 3 * edits + ["predicted"] * 2 * edits) * 2


def test_ddim_has_the_paper_steps():
    assert benchmark.DDIM_STEPS[-1] == 50
