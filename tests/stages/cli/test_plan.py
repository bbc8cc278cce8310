"""``iedit plan``: its refusals."""

import pytest

from stages.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--images 0", "--images = 0: must be above 0 and finite"),
        ("--images nan", "--images = nan: must be above 0 and finite"),
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
