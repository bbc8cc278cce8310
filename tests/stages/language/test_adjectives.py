"""Which adjectives replace which: visible ones only, and none that says what people are."""

from stages.language import wordnet
from stages.language.adjectives import CHROMATIC, antonym, is_colour, other_colours


def test_nations_and_beliefs_have_no_opposite_and_no_colour(open_world):
    reader = wordnet.wordnet()
    adjectives = set()
    for word in reader.all_lemma_names("a"):
        names = {lemma.name() for lemma in reader.synsets(word, "a")[0].lemmas()}
        if word.capitalize() in names and word not in ("brobdingnagian", "lilliputian", "chinese-red"):
            adjectives.add(word)
    assert {"chinese", "catholic", "jewish", "victorian"} <= adjectives
    for word in sorted(adjectives | {"male", "female", "gay", "pregnant", "blind", "naked", "poor"}):
        assert not is_colour(word)
        for living in (True, False):
            assert antonym(word, open_world, living=living) is None


def test_every_antonym_is_of_the_vocabulary(open_world):
    found = {antonym(word, open_world, living=True) for word in sorted(wordnet.wordnet().all_lemma_names("a"))[::5]}
    assert {"small", "large", "smooth"} < found <= {None, *open_world.vocabulary}


def test_colours_and_other_adjectives(open_world):
    assert set(other_colours("red", open_world)) == set(CHROMATIC) - {"red"}
    assert other_colours("black", open_world) == ("white",)
    assert "red" not in other_colours("crimson", open_world)
    assert not is_colour("cherry")  # tree
    assert antonym("big", open_world, living=False) == "little"
    assert antonym("old", open_world, living=False) == "new"
    assert antonym("old", open_world, living=True) == "young"
    for invisible in ("wooden", "happy", "heavy", "other", "american"):
        assert antonym(invisible, open_world, living=False) is None
