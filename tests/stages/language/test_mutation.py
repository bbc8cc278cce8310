"""Edits of captions: what may change, what may not, and that a seed gives the same edit again.

``mutation_cases.csv`` is a table of captions. ``changes``: what may change with the words of families.txt, an adjective with
its noun; all of it must, and nothing else may; empty if the caption has no edit. ``also``: what may change, besides, with
the words of the embedded world. ``becomes``: one of the edits, word for word. ``never``: words that no edit brings in.
"""

import csv
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.common.text import one_line
from stages.corpus.scenery import SCENERIES
from stages.corpus.world import COLOURS, UNCOUNTABLE, draw_scene, nouns, with_article
from stages.language.english import MOST_CHARACTERS, MOST_WORDS
from stages.language.mutation import Dropped, Mutation, mutate_caption
from stages.language.rules import Rules
from stages.language.senses import plural
from tests.support import ROOT
from tests.support.captions import possible_edits

SEEDS = range(12)
INVARIANT = ["sheep", "bison", "deer", "elk", "moose", "jellyfish", "crayfish", "squid", "cattle", "reindeer"]
with Path(__file__).with_name("mutation_cases.csv").open(encoding="utf-8", newline="") as table:
    CASES = list(csv.DictReader(table))
CAPTIONS = [case["caption"] for case in CASES]


def edits(caption: str, rules: Rules) -> list[Mutation]:
    found = possible_edits(caption, rules)
    return [] if isinstance(found, Dropped) else found


def is_exact(caption: str, edit: Mutation) -> bool:
    """Return whether the edit prompt is the caption with only the term, and the article before it, replaced."""
    source = r"\s+".join(map(re.escape, edit.source_term.split()))
    for found in re.finditer(rf"\b((an?)\s+)?{source}\b", caption, re.IGNORECASE):
        start = found.start() if found[1] else found.start(0)
        for article in ("a", "an") if found[2] else ("",):
            text = f"{article}{found[1][len(found[2]) :]}{edit.target_term}" if found[2] else edit.target_term
            if (caption[:start] + text + caption[found.end() :]).lower() == edit.edit_prompt.lower():
                wants_an = edit.target_term[0] in "aeiou" and not edit.target_term.startswith(("uku", "uni", "uri"))
                return not article or (article == "an") == wants_an
    return False


def number_agrees(edit: Mutation) -> bool:
    """Return whether source and target are both singular or both plural, judged by their forms alone."""
    singulars = {"bus", "cactus", "dress", "glass", "asparagus", "grass", "hippopotamus", "octopus", "rhinoceros", "walrus"}
    terms = {term.split()[-1] for term in (edit.source_term, edit.target_term)}
    plurals = {term in ("geese", "mice", "cacti") or (term[-1] == "s" and term not in singulars) for term in terms}
    return len(plurals) == 1 or not terms.isdisjoint(INVARIANT)


def test_the_table_of_cases_is_large_and_varied():
    assert len(set(CAPTIONS)) == len(CAPTIONS) >= 350
    assert len({case["topic"] for case in CASES}) >= 14


@pytest.mark.parametrize("case", CASES, ids=CAPTIONS)
def test_edits_of_a_caption_are_those_of_the_table(case, world, open_world):
    caption, allowed = case["caption"], set(filter(None, case["changes"].split("|")))
    assert {edit.source_diff for edit in edits(caption, open_world)} == allowed
    assert {edit.source_diff for edit in edits(caption, world)} <= allowed | set(case["also"].split("|"))
    for edit in [*edits(caption, open_world), *edits(caption, world)]:
        assert is_exact(caption, edit), edit
        assert edit.source_diff.split() != edit.target_diff.split()
        assert not set(filter(None, case["never"].split("|"))) & set(edit.target_term.split())
        assert number_agrees(edit), edit
    assert case["becomes"] in {"", *(edit.edit_prompt for edit in edits(caption, open_world))}


@pytest.mark.parametrize("caption", ["a big red truck", "an orange on an orange plate", "a woman"])
def test_seeds_reach_every_edit_and_no_other(caption, open_world):
    found = {mutate_caption(caption, open_world, seed) for seed in range(500)}
    possible = possible_edits(caption, open_world)
    assert found == ({possible} if isinstance(possible, Dropped) else set(possible))


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("a small dog", "a large dog"),
        ("a white owl", "a black owl"),
        ("a tiny mouse", "a large mouse"),
        ("an airplane in the city", "a helicopter in the city"),
        ("A helicopter", "An airplane"),
        ("two horses in a field", "two zebras in a field"),
        ("owls on a roof", "eagles on a roof"),
        ("an owl in the snow", "an eagle in the snow"),
        ("Owl on a roof", "Eagle on a roof"),
        ("a peacock on the road", "a turkey on the road"),
        ("hats in the room", "caps in the room"),
        ("several sheep", "several goats"),
        ("a sheep", "a goat"),
    ],
)
def test_an_edit_reads_as_written(caption, wanted, world):
    assert wanted in {edit.edit_prompt for edit in edits(caption, world)}


def test_diff_prompts_name_the_thing_that_changes(open_world):
    found = {edit.target_term: edit for edit in edits("a big leather suitcase", open_world)}
    assert (found["little"].source_diff, found["little"].target_diff) == ("big leather suitcase", "little leather suitcase")
    assert found["little"].relation == "antonym"
    found = {edit.target_term: edit for edit in edits("a red car", open_world)}
    assert (found["blue"].target_diff, found["blue"].edit_prompt, found["blue"].relation) == (
        "blue car",
        "a blue car",
        "colour",
    )
    assert (found["truck"].source_diff, found["truck"].target_diff, found["truck"].relation) == ("car", "truck", "co-hyponym")


@pytest.mark.parametrize(
    ("caption", "word", "relation"),
    [
        ("an empty street at night", "busy", "traffic"),
        ("an empty glass on a table", "full", "antonym"),
        ("a wooden chair", "metal", "material"),
        ("a white wall", "red", "colour"),
        ("a white plate", "black", "colour"),
    ],
)
def test_the_relation_is_that_of_the_two_adjectives(caption, word, relation, open_world):
    assert {edit.relation for edit in edits(caption, open_world) if edit.target_term == word} == {relation}


def test_the_seed_decides_the_edit(world):
    caption = "a small white dog sitting on a bed"
    first, second = ([mutate_caption(caption, world, seed) for seed in SEEDS] for _ in range(2))
    assert first == second
    assert len(set(first)) > 3


@pytest.mark.parametrize(("share", "relations"), [(0.0, {"co-hyponym"}), (1.0, {"colour"})])
def test_the_share_of_adjectives(share, relations, world):
    rules = Rules(vocabulary=world.vocabulary, levels=4, adjective_share=share)
    assert {mutate_caption("a red car", rules, seed).relation for seed in SEEDS} == relations


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("", Dropped.EMPTY),
        ("  ", Dropped.EMPTY),
        ("a dog and " * MOST_WORDS, Dropped.TOO_LONG),
        ("/" * (MOST_CHARACTERS + 1), Dropped.TOO_LONG),
        ("ein roter Hund auf einem Sofa", Dropped.NOT_ENGLISH),
        ("photo d'un cat, candle 1234", Dropped.NOT_ENGLISH),
        ("桌子上的一只猫", Dropped.NOT_ENGLISH),
        ("a dgo on teh beahc", Dropped.NOT_ENGLISH),
        ("an empty room", Dropped.NOTHING_TO_CHANGE),
        ("12345", Dropped.NOTHING_TO_CHANGE),
        ("/home/user/pictures/cat on a chair.jpg", Dropped.NOTHING_TO_CHANGE),
        ("a woman", Dropped.NOTHING_TO_CHANGE),
        ("a surfboard", Dropped.NO_REPLACEMENT),
    ],
)
def test_why_a_caption_is_dropped(caption, reason, world):
    assert mutate_caption(caption, world, 0) is reason


def test_scenes_of_the_world_change_in_their_subject_only(world):
    for index in range(300):
        scene = draw_scene(1, "train", index)
        for edit in edits(scene.caption, world):
            assert edit.source_term in scene.subject
            assert edit.edit_prompt.endswith(SCENERIES[scene.scenery][0])
            assert is_exact(scene.caption, edit)
        assert edits(scene.caption, world) or scene.caption.startswith(("a laptop", "a snail", *UNCOUNTABLE))


def test_uncountable_words_take_no_article_and_no_plural(world):
    assert edits("red corn in a field", world)
    for caption in ("a carrot in a field", "a tomato on a plate", "two carrots in a field", "the carrot"):
        changed = edits(caption, world)
        assert changed
        assert not [edit for edit in changed if re.search("corn|broccoli", edit.edit_prompt)], caption


QUICK = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = sorted(
    {word for caption in CAPTIONS for word in caption.split()}
    | set((ROOT / "nano/vocabulary.txt").read_text(encoding="utf-8").split())
    | {"two", "an", "A", ",", ".", "of", "and", "an-", "'s", "hot", "dog's", "🐶", "\u200d", "C:\\dog.png"}
)
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@QUICK
@given(caption=SENTENCES | st.text(max_size=80), seed=st.integers(0, 2**63 - 1))
def test_any_caption_becomes_an_exact_edit_or_is_dropped(caption, seed, world, open_world):
    caption = one_line(caption)
    for rules in (world, open_world):
        edit = mutate_caption(caption, rules, seed)
        assert edit == mutate_caption(caption, rules, seed)
        if isinstance(edit, Dropped):
            assert possible_edits(caption, rules) is edit
            continue
        assert edit in possible_edits(caption, rules)
        assert is_exact(caption, edit)
        assert edit.edit_prompt.isprintable()
        assert edit.edit_prompt != caption
        assert any(edit.target_term in (word, plural(word)) for word in rules.vocabulary)
        assert edit.source_diff.startswith(edit.source_term)
        assert edit.target_diff == edit.target_term + edit.source_diff.removeprefix(edit.source_term)


@QUICK
@given(
    noun=st.sampled_from(sorted(nouns())), adjective=st.sampled_from(["", *COLOURS, "small", "large"]), seed=st.integers(0, 99)
)
def test_an_edit_can_be_edited_back(noun, adjective, seed, world):
    """What an edit changed can change again, and an adjective back into what it was."""
    subject = f"{adjective} {noun}".strip()
    caption = f"{with_article(subject)} on the beach"
    edit = mutate_caption(caption, world, seed)
    if isinstance(edit, Mutation):
        assert not isinstance(possible_edits(edit.edit_prompt, world), Dropped)
        if edit.relation != "co-hyponym":
            assert caption in {back.edit_prompt for back in edits(edit.edit_prompt, world)}
