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
    assert lines[-1].startswith("Preset paper, 64 machines of 16 cores, each with 1 h100 and 16 workers for models.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--images 0", "--images = 0: must be from 1 to 1e+12"),
        ("--images nan", "--images = nan: must be from 1 to 1e+12"),
        ("--images 1e6 --gpu t4 --gpus-per-worker 0", "--gpus-per-worker = 0: must be from 0.001 to 1"),
        ("--images 1e6 --gpus-per-worker 0.5", "--gpus-per-worker = 0.5: needs --gpu, which says what they are"),
        ("--images 1e6 --gpu t4 --gpus 0", "--gpus = 0: must be from 1 to 1000"),
        ("--images 1e6 --machines -1", "--machines = -1: must be from 1 to 100000"),
        ("--images 1e6 --gpus 8", "--gpus = 8: needs --gpu, which says what they are"),
        (
            "--images 1e6 --preset embedded --gpu t4",
            "--gpu = t4: the embedded preset was measured without one; allowed is none",
        ),
    ],
)
def test_wrong_numbers_are_one_line(arguments, message, capsys):
    assert main(["plan", *arguments.split()]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
