"""BLIP's habits are taken out of captions, and nothing else is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.text import one_line
from stages.corpus.world import draw_scene
from stages.language.captions import mend_caption
from stages.language.mutation import Mutation
from tests.support.captions import possible_edits

ANIMALS = ("dog", "cat", "horse", "elephant", "owl", "zebra")


@pytest.mark.parametrize(
    ("caption", "mended"),
    [
        ("arafed dog standing in the grass", "dog standing in the grass"),
        ("araffed elephant walking down a road", "elephant walking down a road"),
        ("two araffes and arafed birds", "two animals and birds"),
        ("araffe and a dog", "animal and a dog"),
        ("there are many araffes in the field", "many animals in the field"),
        ("An araffe standing in the grass", "An animal standing in the grass"),
        ("Araffes, a cat", "Animals, a cat"),
        ("an araffe dog", "a dog"),
        ("an arafed dog on an arafed ottoman", "a dog on an ottoman"),
        ("A arafed owl", "An owl"),
        ("arafed, a cat", "a cat"),
        ("araffe", "animal"),
        ("arafed", ""),
        ("an arafed and a dog", "an animal and a dog"),
        ("two arafed dogs and a arafed", "two dogs and an animal"),
        ("An arafed, a cat", "An animal, a cat"),
        ("an arafed can of soda", "a can of soda"),
        ("an arafed arafed dog", "a dog"),
        ("there is a dog that is sitting on a couch", "a dog that is sitting on a couch"),
        ("There are two cats", "Two cats"),
        ("there's an owl", "an owl"),
        ("there are there are three birds", "three birds"),
        ("there is an arafed owl", "an owl"),
        ("a cat cat cat on a bed", "a cat on a bed"),
        ("a a red bus", "a red bus"),
        ("a close up of a close up of a close up of a cat", "a close up of a cat"),
        ("a cat, a cat, a cat", "a cat"),
        ("dog on a table on a table.", "dog on a table."),
    ],
)
def test_habits_are_taken_out(caption, mended):
    assert mend_caption(caption) == mended


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "yasser arafat with a carafe beside a giraffe",
        "a pom pom hat, a yo yo and a choo choo train",
        "a can can dancer",
        "bus 7 7 at the stop",
        "a man and a woman side by side",
        "is there a dog",
        "A red car, a red bus",
    ],
)
def test_other_captions_stay_as_they_are(caption):
    assert mend_caption(caption) == caption


def test_captions_of_the_world_stay_as_they_are():
    captions = [draw_scene(1, "train", index).caption for index in range(500)]
    assert [mend_caption(caption) for caption in captions] == captions


@pytest.mark.parametrize("habit", ["arafed {}", "an arafed {}", "there is an arafed {}", "a {0} {0}", "there is a {} {}"])
@pytest.mark.parametrize("animal", ANIMALS)
def test_the_animal_behind_a_habit_may_change(habit, animal, open_world):
    caption = mend_caption(habit.format(animal, animal) + " standing in the grass")
    edits = possible_edits(caption, open_world)
    assert animal in {edit.source_term for edit in edits if isinstance(edit, Mutation)}
    assert not any(re.search("araf|there", edit.edit_prompt) for edit in edits)


WORDS = ["a", "an", "arafed", "araffe", "araffes", "there", "is", "cat", "cat,", "owl", "A", "There", "of", "pom", "7", "."]


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(caption=st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=60))
def test_a_mended_caption_is_one_line_of_its_own_words(caption):
    caption = one_line(caption)
    mended = mend_caption(caption)
    assert mended == one_line(mended)
    own = set(re.findall(r"\w+", caption.lower()))
    assert set(re.findall(r"\w+", mended.lower())) <= own | {"a", "an", "animal", "animals"}
