"""``iedit plan``: what it prints, and its refusals."""

import pytest

from stages.cli.main import main


def test_plan_prints_a_row_a_stage(capsys):
    assert main(["plan", "--images", "5e9", "--machines", "64", "--gpu", "h100", "--gpus-per-worker", "0.0625"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:9]] == [
        "ingest",
        "caption",
        "mutate",
        "embed",
        "retrieve",
        "segment",
        "encode",
        "all",
    ]
    assert "5,000,000,000" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--images 0", "--images = 0: must be above 0 and finite"),
        ("--images nan", "--images = nan: must be above 0 and finite"),
        ("--images 1e6 --gpus-per-worker 0", "--gpus-per-worker = 0: must be above 0, to 1"),
        ("--images 1e6 --machines -1", "--machines = -1: must be above 0 and finite"),
        (
            "--images 1e6 --preset embedded --gpu t4",
            "--gpu = t4: the embedded preset was measured without one; allowed is none",
        ),
    ],
)
def test_wrong_numbers_are_one_line(arguments, message, capsys):
    assert main(["plan", *arguments.split()]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
