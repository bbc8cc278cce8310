"""Words that stand for one another in captions of photographs, where WordNet's kinds do not say so: the list alike.txt.

To WordNet a train is a vehicle like a scooter, a frisbee has no kin, and a beach is no thing at all. A line of the list names
words that may replace one another and, where it matters, what has to stand beside them in the caption, or must not.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from stages.language.senses import ancestors, plural, thing_senses

ALIKE = Path(__file__).parent / "alike.txt"


@dataclass(frozen=True, kw_only=True)
class Line:
    """Words that may replace one another, and where."""

    words: tuple[str, ...]  # nouns in the singular, or adjectives
    is_bare: bool  # they stand without an article
    behind: frozenset[str]  # only behind "slice of"
    before: frozenset[str]  # adjectives: the nouns that they may describe; empty for nouns
    unless: frozenset[str]  # words of the caption that forbid the change


@dataclass(frozen=True, eq=False)  # one list is read once, and hashed often
class Alike:
    """The lines of a list; an empty one changes nothing."""

    lines: tuple[Line, ...] = field(default=(), repr=False)
    synonyms: dict[str, str] = field(default_factory=dict, repr=False)  # another name → the name that the lines have

    @cached_property
    def nouns(self) -> dict[str, tuple[str, bool]]:
        """Every noun, singular and plural → its singular, and whether it is the plural."""
        words = [word for line in self.lines if not line.before for word in line.words]
        names = {word: word for word in words} | self.synonyms
        several = {plural(name): (word, True) for name, word in names.items()}
        return several | {name: (word, False) for name, word in names.items()}

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word that an edit may bring in, nouns in the singular."""
        return frozenset(word for line in self.lines for word in line.words)

    @cached_property
    def compounds(self) -> frozenset[str]:
        """The nouns and adjectives of several words."""
        return frozenset(word for word in (*self.nouns, *self.adjectives) if " " in word)

    @cached_property
    def amounts(self) -> frozenset[str]:
        """What one has things or stuff of: slice, flock, row."""
        return frozenset(amount for line in self.lines for amount in line.behind)

    @cached_property
    def adjectives(self) -> frozenset[str]:
        """Every adjective of the list, and every noun that it uses as one: brick."""
        words = {word for line in self.lines if line.before for word in line.words}
        return frozenset(words | {name for name, word in self.synonyms.items() if word in words})

    @cached_property
    def things(self) -> frozenset[str]:
        """The nouns that need no amount: what is a kind of one of them may change as it does."""
        return frozenset(word for line in self.lines if not line.before and not line.behind for word in line.words)

    def nouns_for(self, noun: str, *, amount: str, is_bare: bool, present: AbstractSet[str]) -> tuple[str, ...]:
        """Return the singular nouns that may replace a noun of the list.

        The first line counts that holds the noun, fits its place and is not forbidden by the words of the caption.

        Args:
            noun: in the singular.
            amount: what it is a part of: the "slice" of "a slice of pizza"; empty if it stands for itself.
            is_bare: whether it stands without an article where others have one.
            present: the words of the caption.
        """
        lines = [line for line in self.lines if noun in line.words and not line.before]
        if amount in self.amounts:
            lines = [line for line in lines if amount in line.behind]
        else:
            lines = [line for line in lines if not line.behind]
            wants_bare = is_bare or all(line.is_bare for line in lines)  # "the snow" has no other line than "snow"
            lines = [line for line in lines if line.is_bare == wants_bare]
        return _others(noun, lines, present)

    def adjectives_for(self, adjective: str, noun: str, present: AbstractSet[str]) -> tuple[str, ...]:
        """Return the adjectives that may replace one of the list before a noun, in the singular or plural."""
        word = self.synonyms.get(adjective, adjective)
        return _others(word, [line for line in self.lines if word in line.words and noun in line.before], present)


NOTHING_ALIKE = Alike()


@cache
def read_alike(path: Path = ALIKE) -> Alike:
    """Return the words that are alike; the list describes its own format."""
    texts = [text.partition("#")[0].strip() for text in path.read_text("utf-8").splitlines()]
    same = [_split(text.removeprefix("= ")) for text in texts if text.startswith("= ")]
    synonyms = {name: names[0] for names in same for name in names[1:]}
    lines = [_line(text, synonyms) for text in texts if text and not text.startswith("= ")]
    return Alike(tuple(lines), synonyms)


def _line(text: str, synonyms: Mapping[str, str]) -> Line:
    text, _, unless = text.partition("!")
    text, _, before = text.partition(">")
    behind, _, words = text.rpartition(" of:")
    nouns = _split(before)
    return Line(
        words=tuple(dict.fromkeys(synonyms.get(word, word) for word in _split(words.removeprefix("- ")))),
        is_bare=text.startswith("- "),
        behind=frozenset(_split(behind)),
        before=frozenset([*nouns, *map(plural, nouns)]),
        unless=frozenset(_split(unless)),
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _others(word: str, lines: Sequence[Line], present: AbstractSet[str]) -> tuple[str, ...]:
    allowed = next((line for line in lines if line.unless.isdisjoint(present)), None)
    return () if allowed is None else tuple(other for other in allowed.words if _differs(word, other))


def _differs(word: str, other: str) -> bool:
    """Return whether ``other`` is another thing, rather than a wider or longer word for the same: a rose is a flower."""
    if word == other or word.endswith(f" {other}") or other.startswith(f"{word} ") or other.endswith(f" {word}"):
        return False
    senses, others = thing_senses(word)[:1], thing_senses(other)[:1]
    return not senses or not others or others[0] not in ancestors(senses[0])
