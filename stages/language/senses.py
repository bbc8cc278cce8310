"""What a noun means in a caption: those of its WordNet senses that a picture can show.

WordNet orders the senses of a word by how often each occurs in sense-tagged texts (Miller et al. 1993, "A semantic
concordance") and records the counts. Texts are not pictures: in them "saw" is first a saying, "beaver" a fur, "skunk" a
person. So a sense is judged by its topic (WordNet's lexicographer files) as well as by its count.
"""

import re
from functools import cache

import inflect
from nltk.corpus.reader.wordnet import Synset

from stages.language.families import is_listed
from stages.language.wordnet import wordnet

THING_TOPICS = {"noun.animal": 0, "noun.food": 1, "noun.artifact": 1, "noun.plant": 2}
"""Topics of things that can be seen and changed → their rank among senses about as frequent. Furs, dishes and tools are
named after animals, so animals come first; "apple" means the fruit before the tree. Natural objects are not among them:
sun, beach and mountain belong to the place."""

PEOPLE_TOPICS = ("noun.person", "noun.body")
"""Topics that an edit never changes."""

EXCLUDED_KINDS = (
    "area.n.05",  # room, kitchen, garden: the place, which an edit keeps
    "way.n.06",  # road, street, path
    "floor.n.01",
    "wall.n.01",
    "representation.n.02",  # photograph, drawing: words about the picture itself
    "art.n.01",
    "hominid.n.01",
    "place_of_worship.n.01",
)
"""Kinds of artifacts and animals that an edit never changes."""

PREFERRED_SENSES = {
    "bamboo": "bamboo.n.02",
    "belt": "belt.n.02",
    "cake": "cake.n.03",
    "castle": "castle.n.02",
    "cocktail": "cocktail.n.01",
    "crown": "crown.n.04",
    "dolphin": "dolphin.n.02",
    "drill": "drill.n.01",
    "flute": "flute.n.01",
    "glove": "glove.n.02",
    "hamburger": "hamburger.n.01",
    "hammer": "hammer.n.02",
    "harp": "harp.n.01",
    "hedgehog": "hedgehog.n.02",
    "helmet": "helmet.n.02",
    "hot dog": "hotdog.n.02",
    "kettle": "kettle.n.01",
    "kite": "kite.n.03",
    "oak": "oak.n.02",
    "pine": "pine.n.01",
    "radio": "radio_receiver.n.01",
    "scooter": "motor_scooter.n.01",
    "television": "television_receiver.n.01",
}
"""Senses that captions mean although the rules below would find another one: a kite in a photograph is a toy, not a bird."""

EXCLUDED_WORDS = frozenset(
    """chicken fish jaguar lamb mustang salmon shrimp
    burka burqa cassock chador cross crucifix hijab menorah rosary surplice turban veil yarmulke""".split()  # noqa: SIM905
)
"""Words that an edit never changes: ambiguous ones (a chicken may be alive or a dish, a jaguar may be a car), and signs of
somebody's religion."""

PLURAL_ENDING = re.compile(r"(?<![suio])s$")  # scissors and trousers, but not bus, glass, iris or rhinoceros

IRREGULAR = {
    **{animal: animal for animal in ("bison", "elk")},
    **{word: f"{word}s" for word in ("brahman", "delf", "doberman", "hanuman", "mine", "pullman", "saman", "walkman", "zaman")},
    "brainchild": "brainchildren",
    "domino": "dominoes",
    "meatloaf": "meatloaves",
    "sugarloaf": "sugarloaves",
    "trilby": "trilbies",
}
"""Plurals that ``inflect`` has otherwise, found by comparing its plurals of all things in WordNet with WordNet's exceptions."""

DOMINANCE = 8  # a sense this many times as frequent as another hides it


@cache
def thing_senses(word: str) -> tuple[Synset, ...]:
    """Return the senses in which ``word`` (a singular, or a compound with spaces) names a thing, the likeliest first.

    There are none if it is more likely to name something else: a person, a part of the body, a setting, a picture, an idea.
    """
    if word in EXCLUDED_WORDS:
        return ()
    if word in PREFERRED_SENSES:
        return (wordnet().synset(PREFERRED_SENSES[word]),)
    counts = {sense: 1 + lemma_count(sense, word) for sense in wordnet().synsets(word.replace(" ", "_"), "n")}
    things = [sense for sense in counts if sense.lexname() in THING_TOPICS]
    if not things:
        return ()
    most = max(counts[sense] for sense in things)
    likely = sorted(
        (sense for sense in things if 2 * counts[sense] >= most),
        # "Peacock" is also a butterfly, but its full name is peacock butterfly.
        key=lambda sense: (THING_TOPICS[sense.lexname()], is_short_form(sense, word)),
    )
    first = likely[0]
    # Names of animals are used as names for people, so for animals the other sense must be far more frequent.
    tolerance = 2 if first.lexname() == "noun.animal" else 1
    others = max((count for sense, count in counts.items() if sense.lexname() in PEOPLE_TOPICS), default=0)
    if others > tolerance * most or max(counts.values()) > DOMINANCE * most:
        return ()
    if not _excluded_kinds().isdisjoint(ancestors(first)):
        return ()
    alike = (first.lexname(), is_short_form(first, word))
    return tuple(sense for sense in likely if (sense.lexname(), is_short_form(sense, word)) == alike)


def lemma_count(sense: Synset, word: str) -> int:
    """Return how often ``word`` has this sense in WordNet's tagged texts."""
    name = word.replace(" ", "_")
    return sum(lemma.count() for lemma in sense.lemmas() if lemma.name().lower() == name)


@cache
def ancestors(sense: Synset) -> frozenset[Synset]:
    """Return the sense itself and all its hypernyms, direct and indirect."""
    return frozenset([sense, *sense.closure(lambda below: below.hypernyms() + below.instance_hypernyms())])


@cache
def singular(word: str) -> tuple[str, bool] | None:
    """Return the singular of a noun and whether ``word`` is its plural; None for a word that has no singular (scissors)."""
    by_rule = _inflect().singular_noun(word)  # trousers stay trousers
    cut = () if is_noun(word) else (stem for stem in (word.removesuffix("s"), word.removesuffix("es")) if plural(stem) == word)
    possible = () if by_rule == word else (by_rule, wordnet().morphy(word, "n"), *cut)
    stems = [str(stem) for stem in possible if stem and stem != word and (thing_senses(stem) or is_listed(stem))]
    if not stems:
        return None if PLURAL_ENDING.search(word) else (word, False)
    stem = next((stem for stem in stems if plural(stem) == word), stems[0])  # pickaxes are of a pickaxe, not of a pickax
    own = [
        sense for sense in wordnet().synsets(word, "n") if word in sense.lemma_names() and sense.lexname() == "noun.artifact"
    ]
    senses = thing_senses(stem)
    if is_listed(word) or (
        own and senses and own[0] not in ancestors(senses[0])
    ):  # glasses are spectacles; coats are several coats
        return None
    return stem, True


def base_noun(word: str) -> str:
    """Return the singular of a noun, or ``word`` itself if it has none."""
    number = singular(word)
    return number[0] if number else word


@cache
def singular_form(word: str) -> str:
    """Return the singular of a noun that may name anything (skiers → skier), or ``word`` itself if it is no plural.

    It goes by the form alone, for comparison with words of a list: of "tennis" it makes "tenni".
    """
    return str(_inflect().singular_noun(word) or word)


@cache
def is_noun(word: str) -> bool:
    """Return whether WordNet has ``word`` (a singular, or a compound with spaces) as a common noun."""
    name = word.replace(" ", "_")
    return any(name in sense.lemma_names() for sense in wordnet().synsets(name, "n"))


@cache
def is_person(word: str) -> bool:
    """Return whether the likeliest meaning of a noun is a person or a part of the body."""
    sense = next(iter(wordnet().synsets(base_noun(word).replace(" ", "_"), "n")), None)
    return sense is not None and sense.lexname() in PEOPLE_TOPICS


def is_invariant(word: str) -> bool:
    """Return whether singular and plural are the same: sheep, deer."""
    return bool(_inflect().plural_noun(word) == word)


@cache
def plural(word: str) -> str:
    """Return the plural of a singular noun.

    ``inflect`` decides, except where it goes by the ending alone: burritoes, irisses, chintzzes.
    """
    if " " in word and is_listed(word):
        first, _, last = word.rpartition(" ")
        return f"{first} {plural(last)}"
    found = str(_inflect().plural_noun(word))
    if re.search("[^aeiou]o$", word) and word not in IRREGULAR:
        return f"{word}es" if wordnet().morphy(f"{word}es", "n") == word else f"{word}s"
    if found == f"{word}s" and word.endswith("s"):  # beads are several; one iris is not
        return word if PLURAL_ENDING.search(word) else f"{word}es"
    if re.search("[^aeiou]z$", word):
        return f"{word}es"
    return found


def article(word: str) -> str:
    """Return the article of ``word``, "a" or "an"."""
    return str(_inflect().a(word)).split(" ", 1)[0]


def is_short_form(sense: Synset, word: str) -> bool:
    """Return whether the sense has a longer name that begins or ends with ``word``: power saw, peacock butterfly."""
    name = word.replace(" ", "_")
    return any(other.startswith(f"{name}_") or other.endswith(f"_{name}") for other in map(str.lower, sense.lemma_names()))


@cache
def _excluded_kinds() -> frozenset[Synset]:
    return frozenset(wordnet().synset(name) for name in EXCLUDED_KINDS)


@cache
def _inflect() -> inflect.engine:
    engine = inflect.engine()
    for one, several in IRREGULAR.items():
        engine.defnoun(one, several)
    return engine
