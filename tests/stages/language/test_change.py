"""What a person's prompt changes in a caption: the stage mutate's own edits, and others by hand."""

from dataclasses import asdict

import pytest

from stages.core.errors import InputError
from stages.core.params import Mutate
from stages.language.change import describe_change
from stages.language.mutation import Mutation, mutate_caption
from stages.language.rules import read_rules

RULES = read_rules(Mutate(vocabulary=None, levels=2, adjective_share=0.5))
CAPTIONS = [
    "a dog in the snow",
    "a red car on the street",
    "An orange on a plate",
    "two dogs on a beach",
    "a large brown horse in a field",
    "a man riding a bicycle down the street",
    "a slice of pizza next to a white cat",
]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_an_edit_of_mutate_is_described_as_mutate_does(caption):
    described = 0
    for seed in range(10):
        edit = mutate_caption(caption, RULES, seed)
        if isinstance(edit, Mutation):
            assert describe_change(caption, edit.edit_prompt) == edit
            described += 1
    assert described


@pytest.mark.parametrize(
    ("caption", "prompt", "source", "target", "relation", "source_diff", "target_diff"),
    [
        ("a dog in the snow", "an ox in the snow", "dog", "ox", "co-hyponym", "dog", "ox"),
        ("a dog in the snow", "a brown cat in the snow", "dog", "brown cat", "co-hyponym", "dog", "brown cat"),
        ("a red car in snow", "a green car in snow", "red", "green", "colour", "red car", "green car"),
        ("a small car in snow", "a large car in snow", "small", "large", "antonym", "small car", "large car"),
        ("a wooden chair", "a metal chair", "wooden", "metal", "material", "wooden chair", "metal chair"),
        ("A dog.", "A hot dog.", "dog", "hot dog", "co-hyponym", "dog", "hot dog"),
    ],
)
def test_changes_by_hand(caption, prompt, source, target, relation, source_diff, target_diff):
    wanted = {"edit_prompt": prompt, "source_term": source, "target_term": target, "relation": relation}
    wanted |= {"source_diff": source_diff, "target_diff": target_diff}
    assert asdict(describe_change(caption, prompt)) == wanted


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a dog in the snow", "changes no word"),
        ("A  dog in the snow", "changes no word"),
        ("a dog in the snow today", "only adds 'today'"),
        ("a dog in", "only leaves out 'the snow'"),
        ("a cat in the sand", "changes 'dog in the snow' to 'cat in the sand'"),
        ("a dog behind the snow", "changes 'in' to 'behind'"),
        ("", "only leaves out"),
        ("word " * 51, "longer than 50 words"),
        ("x" * 501, "longer than"),
    ],
)
def test_other_prompts_are_refused_with_a_reason(prompt, reason):
    with pytest.raises(InputError, match=reason):
        describe_change("a dog in the snow", prompt)


def test_words_outside_the_vocabulary_are_refused():
    known = frozenset({"cat", "brown"})
    assert describe_change("two dogs", "two cats", known).target_term == "cats"
    assert describe_change("a dog", "a brown cat", known).target_term == "brown cat"
    with pytest.raises(InputError, match=r"^mutate\.vocabulary has no 'ox', so that the models do not know it"):
        describe_change("a dog", "an ox", known)
