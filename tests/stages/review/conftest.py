"""Fixtures for the tests of pages on which people judge."""

import pytest

from stages.review.pairs import Pairs
from stages.review.reviewing import Reviewing
from tests.support import ROOT
from tests.support.decided import mended_as
from tests.support.tiny_corpus import write_training_pairs


@pytest.fixture
def folder(models, workplace):
    """The current folder: six pairs of two shards, half of them held out, and the dictionary."""
    changes = {"retrieve": {"held_out": 0.5, "max_uses": 1}, "evaluate": {"cases": "data/heldout"}}
    write_training_pairs(models, 2, **changes)
    (workplace / "data" / "nltk").symlink_to(ROOT / "data" / "nltk")
    return workplace


@pytest.fixture
def reviewing(folder) -> Reviewing:
    """The pairs, with a prompt that always reads as a dog that becomes an ox."""
    from stages.core.paths import DECISIONS

    return Reviewing(Pairs(), DECISIONS, reviewer="Ann", scored_by="m" * 64, describe=lambda _, prompt: mended_as(prompt))
