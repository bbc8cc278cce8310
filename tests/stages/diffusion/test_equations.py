"""The table of equations: every equation of the paper is found in one hop from its number."""

import re
from functools import reduce
from importlib import import_module

import pytest

import stages.diffusion
from tests.support import ROOT

ROWS = dict(re.findall(r"^Eq (\d+) .*?``([\w.]+)``", stages.diffusion.__doc__, re.MULTILINE))


def test_every_equation_has_a_function():
    assert list(ROWS) == [str(number) for number in range(1, 14)]


@pytest.mark.parametrize("number", ROWS)
def test_docstring_of_the_function_names_the_equation(number):
    """It names the equation, so that a search for the number ends at the function."""
    path = ROWS[number].split(".")
    package = "stages." if path[0] == "models" else "stages.diffusion."
    module, names = (".".join(path[:2]), path[2:]) if path[0] == "models" else (path[0], path[1:])
    function = reduce(getattr, names, import_module(package + module))
    assert re.search(rf"Eq {number}\b", function.__doc__), function


@pytest.mark.parametrize("number", ROWS)
def test_a_search_for_the_number_finds_the_module(number):
    found = [path for path in (ROOT / "stages").rglob("*.py") if re.search(rf"Eq {number}\b", path.read_text())]
    parts = ROWS[number].split(".")
    assert f"{parts[1] if parts[0] == 'models' else parts[0]}.py" in {path.name for path in found}
