"""``iedit memory``: what it prints, and its refusals."""

import pytest

from stages.cli.main import main
from stages.studies import memory
from tests.support import ROOT


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # which the command sets, until the test ends


def test_memory_prints_a_row_a_stage(monkeypatch, capsys):
    monkeypatch.setattr(memory, "PEAKS", {"edit": memory.PEAKS["edit"]})  # the others take longer
    assert main(["memory", "precision=fp32", "train.precision=no"]) == 0
    head, row, _, note = capsys.readouterr().out.splitlines()
    assert head.split() == ["peak", "T4", "16", "GB", "A10", "24", "GB", "V100", "32", "GB", "H100", "80", "GB"]
    name, peak, unit, *rooms = row.split()
    assert (name, unit, rooms) == ("edit", "GB", ["fits"] * 4)
    assert 4 * (0.8595 + 0.1231 + 0.0837) < float(peak) < 9  # the weights, and what they work on
    assert note.startswith("Computed, not measured")


def test_a_choice_that_does_not_exist_is_one_line(capsys):
    assert main(["memory", "train.stepz=3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert "stepz" in error
