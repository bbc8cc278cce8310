"""Every command of the README is one that a test or the continuous integration runs, and every path in it exists."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from stages.report.tables import NAMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RUN_BY = {
    "make run": ".ci/run",
    "make test": ".ci/run",
    "iedit edit": "tests/test_end_to_end.py",
    "dvc exp run": "tests/test_params.py",  # what it composes; at true size it needs the hub and a GPU
    "dvc metrics show": "tests/test_end_to_end.py",
    "dvc plots show": "tests/test_end_to_end.py",
    "make flow": "tests/test_end_to_end.py",
    "mlflow ui": "tests/test_end_to_end.py",
    "make bench": ".ci/run",
    "make nano": "tests/test_nano.py",
}


COLUMNS = ("clip_score", "clip_directional", "edit_success", "frechet_judge_features", "ssim_m", "ssim_m_bar")


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("command", commands())
def test_command_is_run_somewhere(command):
    place = next((place for start, place in RUN_BY.items() if command.startswith(start)), None)
    assert place is not None, f"{command}: no test runs it"
    assert (ROOT / place).is_file()


def test_results_are_those_of_the_last_evaluation():
    # What is committed: a run of one's own may have overwritten the file.
    command = ["git", "show", "HEAD:reports/metrics.json"]
    metrics = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert f"{metrics['cases']} held-out" in README
    for system, name in NAMES.items():
        scores = metrics["systems"][system]
        row = next(line for line in README.splitlines() if line.startswith(f"| {name} |"))
        shown = [float(cell) for cell in row.split("|")[2:-1]]
        digits = [len(cell.strip().partition(".")[2]) for cell in row.split("|")[2:-1]]
        assert shown == [round(scores[column], places) for column, places in zip(COLUMNS, digits, strict=True)]


def test_python_example_is_valid():
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        compile(block, "README.md", "exec")


def test_paths_in_the_table_exist():
    section = README.split("## Where things are")[1]
    for path in re.findall(r"`([\w./-]+/|[\w]+\.yaml|stages/\w+\.py)`", section):
        if path != "stages/NAME.py":
            assert (ROOT / path).exists(), path
