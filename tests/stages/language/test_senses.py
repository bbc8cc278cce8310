"""Which words name a thing in a caption, and their number."""

import pytest

from stages.language.senses import plural, singular, thing_senses


@pytest.mark.parametrize("place", ["beach", "forest", "desert", "city", "mountain", "field", "snow", "night", "road", "room"])
def test_scenery_is_not_a_thing(place):
    assert not thing_senses(place)


@pytest.mark.parametrize(
    "word", ["man", "woman", "people", "boy", "player", "couple", "jew", "american", "hand", "head", "photo", "church", "hijab"]
)
def test_people_bodies_religion_and_pictures_are_not_things(word):
    assert not thing_senses(word)


def test_singular_and_plural():
    assert singular("buses") == ("bus", True)
    assert singular("bus") == ("bus", False)
    assert singular("cacti") == ("cactus", True)
    assert singular("cactus") == ("cactus", False)
    assert singular("coats") == ("coat", True)
    assert singular("glasses") is None
    assert singular("scissors") is None
    assert plural("bison") == "bison"
