"""The embedded world: its scenes, each one object in a place, with its true caption.

A scene is a pure function of ``(seed, split, index)``. A (noun, scenery) combination is either for training or held
out, never both, so a held-out scene shows an object in a place where no training has seen it.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from stages.common.seeds import derive_seed
from stages.corpus.scenery import SCENERIES

HELD_OUT_SHARE = 0.15  # share of the (noun, scenery) combinations
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (226, 40, 40),
    "yellow": (250, 212, 30),
    "green": (50, 168, 64),
    "blue": (40, 96, 226),
    "purple": (142, 56, 190),
    "pink": (250, 130, 184),
    "black": (46, 46, 50),
    "white": (250, 250, 250),
}
UNCOUNTABLE = ("broccoli", "corn")
SIZES = {"small": 0.36, "": 0.58, "large": 0.82}
"""Adjective → the object's longer side as a share of the picture's side."""


@dataclass(frozen=True, kw_only=True)
class Noun:
    """An object of the world: its name, its emoji's code point, and the group whose members may replace it."""

    name: str
    emoji: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The content of a picture; ``x`` and ``y`` (shares of its side), ``angle`` and ``flipped`` place the object."""

    noun: str
    adjective: str  # a key of COLOURS or of SIZES
    scenery: str
    x: float
    y: float
    angle: float  # degrees, counter-clockwise
    flipped: bool
    background_seed: int

    @property
    def subject(self) -> str:
        """The object with its adjective: ``red car``."""
        return f"{self.adjective} {self.noun}".strip()

    @property
    def caption(self) -> str:
        """The true caption: ``a red car on the beach``."""
        return f"{with_article(self.subject)} {SCENERIES[self.scenery][0]}"


def with_article(phrase: str) -> str:
    """Return ``phrase`` with its indefinite article, if its noun, the last word, is countable."""
    if phrase.split()[-1] in UNCOUNTABLE:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"  # the first letter decides, enough for these words


@cache
def nouns() -> dict[str, Noun]:
    """Return all nouns of the world by name, in the order of ``nouns.csv``."""
    with (Path(__file__).parent / "nouns.csv").open(newline="") as file:
        return {row["noun"]: Noun(name=row["noun"], emoji=row["emoji"], group=row["group"]) for row in csv.DictReader(file)}


@cache
def combinations(*, held_out: bool) -> tuple[tuple[str, str], ...]:
    """Return the held-out or the training (noun, scenery) combinations, in a fixed order."""
    limit = int(HELD_OUT_SHARE * 2**63)
    return tuple(
        (noun, scenery)
        for noun in nouns()
        for scenery in SCENERIES
        if (derive_seed(0, "held out", noun, scenery) < limit) == held_out
    )


def draw_scene(seed: int, split: str, index: int) -> Scene:
    """Return scene ``index`` of ``split``: "train", or any other name for the held-out combinations."""
    return draw_scene_of(combinations(held_out=split != "train"), derive_seed(seed, "scene", split, index))


def draw_scene_of(pool: tuple[tuple[str, str], ...], seed: int) -> Scene:
    """Return a random scene with one of the (noun, scenery) combinations in ``pool``."""
    rng = np.random.default_rng(seed)
    noun, scenery = pool[rng.integers(len(pool))]
    kind = rng.random()
    adjective = ""
    if kind < 0.4:
        adjective = str(rng.choice(list(COLOURS)))
    elif kind < 0.6:
        adjective = str(rng.choice(["small", "large"]))
    return Scene(
        noun=noun,
        adjective=adjective,
        scenery=scenery,
        x=rng.uniform(0.4, 0.6),
        y=rng.uniform(0.5, 0.64),
        angle=rng.uniform(-8, 8),
        flipped=bool(rng.random() < 0.5),
        background_seed=int(rng.integers(2**31)),
    )
