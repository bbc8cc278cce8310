"""``iedit benchmark``: what it runs, and what it refuses."""

import shutil
from pathlib import Path

import pytest

from stages.benchmarks import run
from stages.benchmarks.catalogue import BENCHMARKS
from stages.cli import main as cli
from stages.comparison.systems import SYSTEMS
from stages.comparison.training_free import TRAINING_FREE
from stages.core.params import Params
from tests.support import ROOT
from tests.support.composed import composed


@pytest.fixture
def asked(workplace, monkeypatch) -> list[dict[str, object]]:
    """What the command asked to run; the current folder has params.yaml and a folder of data."""
    asked: list[dict[str, object]] = []

    def record(name, folder, params, **options):
        asked.append({"name": name, "folder": folder, **options})
        return "the table"

    monkeypatch.setattr(run, "run_benchmark", record)
    shutil.copy(ROOT / "params.yaml", workplace)
    (workplace / "PIE-Bench").mkdir()
    return asked


def test_command_runs_what_its_options_name(asked, capsys):
    assert cli.main(["benchmark", "pie-bench", "--data", "PIE-Bench", "--system", "sdedit", "iedit_m", "--cases", "100"]) == 0
    (found,) = asked
    assert (found["name"], found["folder"], found["limit"]) == ("pie-bench", Path("PIE-Bench"), 100)
    assert found["systems"] == ["sdedit", "iedit_m"]
    assert found["out"] == Path("reports/latest/benchmarks/pie-bench")
    assert capsys.readouterr().out.startswith("the table\n")


def test_made_benchmark_needs_no_data_and_takes_all_systems(asked):
    assert cli.main(["benchmark", "made"]) == 0
    assert asked[0]["folder"] is None
    assert asked[0]["systems"] == list(cli.SYSTEM_NAMES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pie-bench", "--data: name the folder that holds the data of pie-bench"),
        ("pie-bench --data nowhere", "--data nowhere: no such folder"),
        ("made --cases 0", "--cases = 0: must be above 0"),
    ],
)
def test_wrong_options_are_one_line(asked, capsys, words, message):
    assert cli.main(["benchmark", *words.split()]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert asked == []


def test_a_model_that_measures_is_named_where_there_was_none():
    chosen = Params.model_validate(composed("benchmark.lpips={name: models/lpips, revision: null}"))
    assert chosen.benchmark.lpips.name == "models/lpips"


def test_names_are_those_of_the_catalogue_and_of_the_systems():
    assert set(cli.BENCHMARK_NAMES) == set(BENCHMARKS)
    assert (*SYSTEMS, *TRAINING_FREE) == cli.SYSTEM_NAMES
