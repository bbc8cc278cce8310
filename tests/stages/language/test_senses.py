"""Which words name a thing in a caption, and their number."""

import re

import pytest

from stages.language.senses import plural, singular, thing_senses
from stages.language.wordnet import WORDNET, wordnet
from tests.support import ROOT


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


# Merriam-Webster's plurals, each list of one ending; of two the first that it gives, or the one of WordNet's exceptions.
PLURALS = {
    "o, which takes -s": "burritos kimonos tuxedos bistros broncos jalapenos nachos piccolos pianos cellos tacos avocados gyros"
    " kangaroos igloos radios videos armadillos hippos rhinos photos stilettos chorizos bonobos guanacos silos logos",
    "o, which takes -es": "tomatoes potatoes heroes echoes vetoes torpedoes mosquitoes mangoes buffaloes dominoes volcanoes",
    "f": "wolves calves leaves loaves shelves scarves wharves knives wives meatloaves bookshelves sheaves",
    "f, which stays": "roofs chiefs cuffs reefs cliffs giraffes cafes carafes safes puffs handkerchiefs motifs muffs",
    "y": "ponies cherries berries puppies bunnies butterflies strawberries ferries trolleys turkeys monkeys donkeys keys toys"
    " trays buoys trilbies",
    "a sibilant": "irises amaryllises walruses hippopotamuses octopuses rhinoceroses glasses dresses buses boxes foxes axes"
    " benches peaches brushes quizzes fezzes topazes chintzes quartzes blintzes gases lenses atlases canvases portcullises",
    "its own way": "geese mice oxen children snowmen lice teeth feet dobermans brahmans shamans talismans caimans",
    "nothing": "sheep deer moose bison elk salmon trout aircraft",
}
SINGULARS = {
    "o, which takes -s": "burrito kimono tuxedo bistro bronco jalapeno nacho piccolo piano cello taco avocado gyro"
    " kangaroo igloo radio video armadillo hippo rhino photo stiletto chorizo bonobo guanaco silo logo",
    "o, which takes -es": "tomato potato hero echo veto torpedo mosquito mango buffalo domino volcano",
    "f": "wolf calf leaf loaf shelf scarf wharf knife wife meatloaf bookshelf sheaf",
    "f, which stays": "roof chief cuff reef cliff giraffe cafe carafe safe puff handkerchief motif muff",
    "y": "pony cherry berry puppy bunny butterfly strawberry ferry trolley turkey monkey donkey key toy tray buoy trilby",
    "a sibilant": "iris amaryllis walrus hippopotamus octopus rhinoceros glass dress bus box fox ax"
    " bench peach brush quiz fez topaz chintz quartz blintz gas lens atlas canvas portcullis",
    "its own way": "goose mouse ox child snowman louse tooth foot doberman brahman shaman talisman caiman",
    "nothing": "sheep deer moose bison elk salmon trout aircraft",
}


SPELT_OTHERWISE = {
    **{word: f"{word}s" for word in ("beef", "brent", "flagstaff", "frijol", "gemsbok", "gemsbuck", "halter", "hoof")},
    **{word: f"{word}s" for word in ("ichthyosaur", "keeshond", "onager", "quarterstaff")},
}


@pytest.mark.parametrize("ending", PLURALS)
def test_plurals_of_every_ending(ending):
    ones = SINGULARS[ending].split()
    assert [plural(one) for one in ones] == PLURALS[ending].split()


def test_irregular_plurals_are_those_of_wordnet():
    """Those of words of English form; for Latin, Greek and Italian words it lists the foreign plural alone."""
    foreign = re.compile("(us|um|a|on|an|is|ix|ex|yx|ax|nx|eau|ou|men|es?|i|o|ah|ar|i?ad|id|th|s)$")
    lines = (ROOT / WORDNET / "noun.exc").read_text().splitlines()
    accepted: dict[str, set[str]] = {}
    for several, *ones in map(str.split, lines):
        for one in ones:
            accepted.setdefault(one, set()).add(several)
    things = [one for one in accepted if thing_senses(one) and one.isalpha() and not foreign.search(one) and "fish" not in one]
    odd = {one: plural(one) for one in things if plural(one) not in accepted[one]}
    assert len(things) > 30
    assert odd == SPELT_OTHERWISE


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.exhaustive), 10])
def test_plurals_are_recognised_for_every_thing_of_wordnet(step):
    """But for words of two spellings (ax, axe), those whose plural is a thing of its own (glasses), and Greek ones."""
    words = [word for word in wordnet().all_lemma_names("n") if word.isalpha() and word.islower()]
    things = [word for word in sorted(words)[::step] if thing_senses(word)]
    missed = [word for word in things if plural(word) != word and singular(plural(word)) != (word, True)]
    assert len(things) > 15_000 / step
    assert len(missed) < len(things) / 50
    others = {word: singular(plural(word)) for word in missed}
    assert all(other is None or plural(other[0]) == plural(word) for word, other in others.items())
