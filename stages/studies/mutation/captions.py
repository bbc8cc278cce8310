"""Captions of photographs as BLIP words them: drawn from a grammar, and a list of others written one by one."""

import random
import re
from functools import cache
from pathlib import Path

from stages.core.errors import InputError

GRAMMAR = Path(__file__).with_name("grammar.txt")
WRITTEN = Path(__file__).with_name("written.txt")
WEIGHT = re.compile(r"(\d+)x (.*)")
REFERENCE = re.compile(r"<(\w+)>")
VOWELS = re.compile(r"\b(a) (?=[aeiou])")


def draw_captions(count: int, seed: int) -> list[str]:
    """Return ``count`` different captions of the grammar, in the order of the draw."""
    draw = random.Random(seed)
    captions: dict[str, None] = {}
    while len(captions) < count:
        captions[VOWELS.sub("an ", _expand("caption", draw))] = None
    return list(captions)


def written_captions() -> list[str]:
    """Return the captions that were written one by one."""
    return read_captions(WRITTEN)


def _expand(name: str, draw: random.Random) -> str:
    alternatives, weights = _grammar()[name]
    (chosen,) = draw.choices(alternatives, weights)
    return REFERENCE.sub(lambda found: _expand(found[1], draw), chosen)


@cache
def _grammar() -> dict[str, tuple[list[str], list[int]]]:
    """Return name → its alternatives and their weights."""
    rules = {}
    for line in read_captions(GRAMMAR):
        name, _, right = line.partition(" = ")
        found = [(WEIGHT.fullmatch(part), part) for part in right.split(" | ")]
        rules[name] = (
            [match[2] if match else part for match, part in found],
            [int(match[1]) if match else 1 for match, _ in found],
        )
    return rules


def read_captions(path: Path) -> list[str]:
    """Return the lines of a file that are neither empty nor comments, which begin with "#".

    Raises:
        InputError: there is no such file, or no such line in it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; captions, one on a line")
    captions = [line for line in path.read_text("utf-8", "replace").splitlines() if line and not line.startswith("#")]
    if not captions:
        raise InputError(f"{path}: holds no caption; captions, one on a line")
    return captions
