"""Which nouns replace which: enough of them, none that is about people, and no land animal for one of the water."""

import pytest

from stages.core.params import Mutate
from stages.corpus.world import nouns
from stages.language import wordnet
from stages.language.families import families
from stages.language.mutation import UNCOUNTABLE, Dropped, mutate_caption
from stages.language.nouns import co_hyponyms, kin, listed_name
from stages.language.rules import Rules, read_rules
from stages.language.senses import EXCLUDED_WORDS, plural, singular, thing_senses
from tests.support import ROOT

RULES = read_rules(Mutate(vocabulary=None, levels=2, adjective_share=0.5))


def kin_of(noun: str) -> set[str]:
    """Return the words that replace a noun in any family."""
    name = listed_name(noun)
    return {word for family in families().of.get(name or "", ()) for word in kin(noun, family)}


@pytest.mark.parametrize("noun", list(nouns()))
def test_every_noun_of_the_world_has_a_replacement(noun, world):
    others = co_hyponyms(noun, world)
    assert noun not in others
    assert set(others) <= set(nouns())
    # In WordNet a laptop has no more to do with a camera than with a candle, and a snail is next of kin to an octopus.
    assert others or noun in {"laptop", "snail"}


def test_most_nouns_have_several_replacements(world):
    ours = [len(co_hyponyms(noun, world)) for noun in world.vocabulary if thing_senses(noun)]
    assert sum(count >= 3 for count in ours) > 0.75 * len(ours)
    listed = [len(kin_of(noun)) for noun in families().of]  # fewer, since what is alike does not replace
    assert sum(count >= 3 for count in listed) > 0.7 * len(listed)


def test_a_word_never_replaces_a_kind_of_it():
    assert "boat" not in kin_of("sailboat")
    assert "taxi" not in kin_of("taxi cab")
    assert "dog" not in kin_of("dachshund")
    assert "cat" in kin_of("dachshund")
    assert "tree" not in kin_of("cherry tree")


SWIMMING = {
    "whale",
    "dolphin",
    "shark",
    "seal",
    "walrus",
    "orca",
    "octopus",
    "squid",
    "jellyfish",
    "stingray",
    "crab",
    "lobster",
}


def test_listed_families_keep_water_and_land_apart():
    swimming = SWIMMING | {"sea lion", "crayfish", "sea turtle", "porpoise", "manatee", "swordfish", "eel", "prawn", "orca"}
    for noun in families().of:
        others = kin_of(noun)
        assert others <= swimming if noun in swimming else others.isdisjoint(swimming), noun


@pytest.mark.parametrize("levels", range(1, 7))
def test_water_and_land_animals_never_replace_each_other(levels, world):
    swimming = {"whale", "dolphin", "shark", "walrus", "orca", "killer whale", "crab", "lobster", "octopus", "squid"}
    more = {"pelican", "frog", "spider", "snake", "otter"}  # on land as well, or nearer to what is
    wide = Rules(vocabulary=world.vocabulary | more, levels=levels, adjective_share=0.5)
    for noun in wide.vocabulary | swimming:
        others = set(co_hyponyms(noun, wide))
        assert others <= swimming if noun in swimming else others.isdisjoint(swimming), noun
    without = Rules(vocabulary=wide.vocabulary - swimming | {"whale", "spider"}, levels=levels, adjective_share=0.5)
    assert mutate_caption("a whale in the sea", without, 0) is Dropped.NO_REPLACEMENT


def nouns_by_topics() -> dict[str, list[str]]:
    """WordNet's nouns → topics of their senses, the most frequent first; read from its files, which is quick."""
    data, index = ((ROOT / wordnet.WORDNET / f"{kind}.noun").read_text().splitlines() for kind in ("data", "index"))
    topics = {line[:8]: wordnet.LEXNAMES[int(line[9:11])] for line in data if line[0] != " "}
    rows = (line.split() for line in index if line[0] != " ")
    return {row[0].replace("_", " "): [topics[offset] for offset in row[-int(row[2]) :]] for row in rows}


def test_words_for_people_are_never_changed_or_brought_in(world, open_world):
    """Tried on every word of both vocabularies, and on every noun whose first sense in WordNet is a person or a body part."""
    things = {"noun.animal", "noun.food", "noun.artifact", "noun.plant"}
    people = {"noun.person", "noun.body"}
    called = {word for word, topics in nouns_by_topics().items() if topics[0] in people and things & set(topics)}
    assert {"pitcher", "tiger", "dark horse", "boxer", "hot dog"} < called
    listed = set(families().of)
    for rules, replaced_by in ((world, lambda word: co_hyponyms(word, world)), (open_world, kin_of)):
        changed = {word for word in called - rules.vocabulary - listed if replaced_by(word)}
        assert changed <= {"hot dog"}  # a show-off, to WordNet
        assert not EXCLUDED_WORDS & rules.vocabulary
        for word in rules.vocabulary:
            for sense in thing_senses(word):
                assert sense.lexname() in things
                above = {kind.name() for kind in sense.closure(lambda below: below.hypernyms())}
                assert not above & {"body_part.n.01", "place_of_worship.n.01", "hominid.n.01", "weapon.n.01"}, word


def test_who_is_changed_is_known_by_their_trade():
    """Nobody's age, sex, body, nationality or religion: of the people only those whose work or game shows."""
    people = families().people
    assert {"chef", "sailor", "firefighter", "tennis player"} < people
    assert people.isdisjoint({"man", "woman", "boy", "girl", "baby", "child", "priest", "nun", "bride", "groom", "lady"})
    assert all(kin_of(person) <= people for person in people)
    for caption in ("a black chef", "an old waiter", "a young sailor", "a fat clown"):
        assert {mutate_caption(caption, RULES, seed).relation for seed in range(20)} == {"co-hyponym"}


@pytest.mark.parametrize("rules", ["world", "open_world"])
def test_plurals_of_replacements_are_recognised(rules, request):
    vocabulary = request.getfixturevalue(rules).vocabulary
    for word in vocabulary & families().brought_in if rules == "open_world" else vocabulary:
        if thing_senses(word) and word not in UNCOUNTABLE and plural(word) != word:
            assert singular(plural(word)) == (word, True)
