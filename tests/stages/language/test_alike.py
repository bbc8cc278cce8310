"""The list of words that stand for one another: that it is sound, and what its lines do to captions of photographs."""

import pytest

from stages.language.alike import read_alike
from stages.language.mutation import Dropped, Mutation, mutate_caption
from stages.language.rules import Rules
from stages.language.senses import EXCLUDED_WORDS
from stages.language.wordnet import wordnet
from tests.support.captions import possible_edits
from tests.support.photographs import photograph_captions

ALIKE = read_alike()


def changes(caption: str, rules: Rules, source: str) -> set[str]:
    found = possible_edits(caption, rules)
    return set() if isinstance(found, Dropped) else {edit.target_term for edit in found if edit.source_term == source}


def test_every_line_offers_a_choice():
    assert len(ALIKE.words) > 1000
    for line in ALIKE.lines:
        assert len(set(line.words)) == len(line.words) >= 2, line
        assert not (line.behind and line.before), line
    assert not set(ALIKE.synonyms) & ALIKE.words
    assert set(ALIKE.synonyms.values()) <= ALIKE.words


def test_no_line_has_a_word_that_edits_never_bring_in():
    assert not EXCLUDED_WORDS & ALIKE.words
    never = {"weapon.n.01", "place_of_worship.n.01", "body_part.n.01", "underwear.n.01"}
    for word in ALIKE.words:
        for sense in wordnet().synsets(word.replace(" ", "_"), "n")[:1]:
            above = {kind.name() for kind in sense.closure(lambda below: below.hypernyms())}
            assert not above & never, word


@pytest.mark.parametrize(
    ("caption", "source", "target"),
    [
        ("a man holding a racket", "racket", "paddle"),
        ("a dog catching a frisbee", "frisbee", "ball"),
        ("a man holding a bat", "bat", "golf club"),
        ("a dog in the snow", "snow", "grass"),
        ("a person on skis", "skis", "snowshoes"),
        ("a stop sign on a road", "stop sign", "traffic light"),
        ("a taxi cab on a street", "taxi cab", "truck"),
        ("a bathroom with a toilet", "toilet", "bathtub"),
        ("a flock of birds", "birds", "geese"),
        ("a fireman on a street", "fireman", "policeman"),
        ("a beagle on a rug", "beagle", "cat"),
        ("a slice of pizza", "pizza", "cake"),
        ("a striped shirt", "striped", "checked"),
        ("a checkered dress", "checkered", "striped"),
        ("a short tree", "short", "tall"),
        ("a short dress", "short", "long"),
        ("a brick wall", "brick", "stone"),
        ("a foggy day", "foggy", "sunny"),
        ("two cows in a meadow", "meadow", "field"),
    ],
)
def test_words_that_wordnet_does_not_relate_replace_each_other(caption, source, target, open_world):
    assert target in changes(caption, open_world, source)


@pytest.mark.parametrize(
    ("caption", "source", "never"),
    [
        ("a man riding a wave on top of a surfboard", "surfboard", {"snowboard", "skateboard"}),
        ("a train traveling down tracks", "train", {"scooter", "bus", "truck"}),
        ("a striped shirt", "striped", {"plain"}),
        ("a short tree", "short", {"long"}),
        ("a kitchen with a stove top oven", "stove", {"dishwasher"}),
        ("a sofa in a room", "sofa", {"couch"}),
        ("a palm tree on a beach", "palm tree", {"tree"}),
        ("a flock of sheep", "sheep", {"pigs", "cows"}),
        ("a baseball player swinging a bat at a baseball game", "bat", {"racket", "golf club"}),
        ("a mouse and a keyboard on a desk", "mouse", {"squirrel"}),
    ],
)
def test_words_that_do_not_fit_are_not_brought_in(caption, source, never, open_world):
    assert not changes(caption, open_world, source) & never


def test_most_captions_of_photographs_have_an_edit(open_world):
    captions = photograph_captions(400, seed=0)
    edited = [isinstance(mutate_caption(caption, open_world, seed), Mutation) for seed, caption in enumerate(captions)]
    assert sum(edited) >= 0.85 * len(captions)
