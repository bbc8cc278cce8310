"""WordNet, and the rules of the embedded world and of the paper's preset."""

import os
from pathlib import Path

import pytest

from stages.core.params import Params
from stages.core.params_file import read_params
from stages.language import wordnet
from stages.language.rules import Rules, read_rules
from tests.support import ROOT

VOCABULARY = ROOT / "nano" / "vocabulary.txt"


@pytest.fixture(scope="session", autouse=True)
def _dictionary():
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        wordnet.provide_wordnet()
        wordnet.wordnet()
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def params() -> Params:
    return read_params(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def world(params: Params) -> Rules:
    return read_rules(params.mutate.model_copy(update={"vocabulary": str(VOCABULARY)}))


@pytest.fixture(scope="session")
def open_world(params: Params) -> Rules:
    """As in the paper's preset: any common thing, two levels up."""
    return read_rules(params.mutate.model_copy(update={"vocabulary": None, "levels": 2}))
