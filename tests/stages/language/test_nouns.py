"""Which nouns replace which: enough of them, none that is about people, and no land animal for one of the water."""

import pytest

from stages.corpus.world import nouns
from stages.language import wordnet
from stages.language.mutation import Dropped, mutate_caption
from stages.language.nouns import co_hyponyms
from stages.language.rules import Rules
from stages.language.senses import EXCLUDED_WORDS, plural, singular, thing_senses
from tests.support import ROOT


@pytest.mark.parametrize("noun", list(nouns()))
def test_every_noun_of_the_world_has_a_replacement(noun, world):
    others = co_hyponyms(noun, world)
    assert noun not in others
    assert set(others) <= set(nouns())
    # In WordNet a laptop has no more to do with a camera than with a candle, and a snail is next of kin to an octopus.
    assert others or noun in {"laptop", "snail"}


def test_most_nouns_have_several_replacements(world, open_world):
    for rules in (world, open_world):
        counts = [len(co_hyponyms(noun, rules)) for noun in rules.vocabulary if thing_senses(noun)]
        assert sum(count >= 3 for count in counts) > 0.75 * len(counts)


@pytest.mark.parametrize("levels", range(1, 7))
@pytest.mark.parametrize("rules", ["world", "open_world"])
def test_water_and_land_animals_never_replace_each_other(levels, rules, request):
    swimming = {"whale", "dolphin", "shark", "walrus", "orca", "killer whale", "crab", "lobster", "octopus", "squid"}
    more = {"pelican", "frog", "spider", "snake", "otter"}  # on land as well, or nearer to what is
    vocabulary = request.getfixturevalue(rules).vocabulary
    wide = Rules(vocabulary=vocabulary | more, levels=levels, adjective_share=0.5)
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
    for rules in (world, open_world):
        changed = {word for word in called - rules.vocabulary if co_hyponyms(word, rules)}
        assert changed <= {"hot dog"}  # a show-off, to WordNet
        assert not EXCLUDED_WORDS & rules.vocabulary
        for word in rules.vocabulary:
            for sense in thing_senses(word):
                assert sense.lexname() in things
                above = {kind.name() for kind in sense.closure(lambda below: below.hypernyms())}
                assert not above & {"body_part.n.01", "place_of_worship.n.01", "hominid.n.01", "weapon.n.01"}, word


@pytest.mark.parametrize("rules", ["world", "open_world"])
def test_plurals_of_replacements_are_recognised(rules, request):
    for word in request.getfixturevalue(rules).vocabulary:
        if co_hyponyms(word, request.getfixturevalue(rules)) and plural(word) != word:
            assert singular(plural(word)) == (word, True)
