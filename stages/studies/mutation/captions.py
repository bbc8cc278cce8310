"""Captions of photographs as BLIP words them: drawn from a grammar, and a list of others written one by one."""

import random
import re
from functools import cache
from pathlib import Path

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
    return _lines(WRITTEN)


def _expand(name: str, draw: random.Random) -> str:
    alternatives, weights = _grammar()[name]
    (chosen,) = draw.choices(alternatives, weights)
    return REFERENCE.sub(lambda found: _expand(found[1], draw), chosen)


@cache
def _grammar() -> dict[str, tuple[list[str], list[int]]]:
    """Return name → its alternatives and their weights."""
    rules = {}
    for line in _lines(GRAMMAR):
        name, _, right = line.partition(" = ")
        found = [(WEIGHT.fullmatch(part), part) for part in right.split(" | ")]
        rules[name] = (
            [match[2] if match else part for match, part in found],
            [int(match[1]) if match else 1 for match, _ in found],
        )
    return rules


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
