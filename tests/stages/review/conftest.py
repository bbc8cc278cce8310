"""Fixtures for the tests of pages on which people judge."""

import shutil

import pytest

from stages.core.paths import DECISIONS
from stages.review.pairs import Pairs
from stages.review.reviewing import Reviewing
from tests.support import ROOT
from tests.support.decided import mended_as
from tests.support.tiny_corpus import write_training_pairs


@pytest.fixture(scope="session")
def paired(models, tmp_path_factory):
    """A folder of six pairs of two shards, some of them held out; made once, and copied for each test."""
    folder = tmp_path_factory.mktemp("paired")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_training_pairs(models, 2, retrieve={"held_out": 0.5, "max_uses": 1}, evaluate={"cases": "data/heldout"})
    return folder


@pytest.fixture
def folder(paired, workplace):
    """The current folder, with the pairs and the dictionary."""
    shutil.copytree(paired, workplace, dirs_exist_ok=True)
    (workplace / "data" / "nltk").symlink_to(ROOT / "data" / "nltk")
    return workplace


@pytest.fixture
def reviewing(folder) -> Reviewing:
    """The pairs; any prompt reads as one in which a dog becomes an ox."""
    return Reviewing(Pairs(), DECISIONS, reviewer="Ann", scored_by="m" * 64, describe=lambda _, prompt: mended_as(prompt))
