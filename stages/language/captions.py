"""What BLIP adds to a caption by habit, and no picture shows: a made-up word, "there is", words said again, a torn "t - shirt".

The word is "arafed" (araffe, arafes, …), common in captions of BLIP-large: the tagger takes it for a noun, so that the animal
behind it would never change. Where it stands for a noun ("two araffes in the field"), it becomes "animal".
"""

import re

from stages.common.text import one_line
from stages.core.params import Caption
from stages.language.english import GRAMMAR
from stages.language.senses import article, is_noun

INVENTED = re.compile(r"(?:\b(an?) +)?(?:\baraf+(?:e*d|e|es|ing|ly)?\b([,.]? *))+(?=(\w*))", re.IGNORECASE)
INVENTED_NOUN = re.compile(r"(?:\b(a)n? +)?\b(a)raf+e?(s?)\b(?= *(\w*))", re.IGNORECASE)
THERE_IS = re.compile(r"^(?:there(?: is| are|['’]s) +)+", re.IGNORECASE)
TORN = re.compile(r"\b([a-z]) - (?=[a-z])", re.IGNORECASE)  # t - shirt, x - ray
LONGEST_REPEAT = 4  # words
NO_NOUNS = GRAMMAR - {"can"}  # "a can can dancer"


def text_to_edit(caption: str, config: Caption) -> str:
    """Return a caption of the stage caption as it is edited: on one line, and without BLIP's habits if BLIP wrote it."""
    text = one_line(caption)
    return mend_caption(text) if config.use == "blip" else text


def mend_caption(caption: str) -> str:
    """Return a caption without these habits; a mended caption stays as it is.

    Args:
        caption: one sentence or phrase, on one line.
    """
    caption = TORN.sub(r"\1-", caption)
    words = INVENTED.sub(_article_of_the_next, INVENTED_NOUN.sub(_animal, caption)).split()
    for length in range(LONGEST_REPEAT, 0, -1):
        words = _without_repeats(words, length)
    mended = " ".join(words)
    shorter = THERE_IS.sub("", mended)
    return shorter[:1].upper() + shorter[1:] if mended[:1].isupper() else shorter


def _animal(found: re.Match[str]) -> str:
    """Return "animal" or "animals" for a made-up noun; one before a word that it may describe stays as it is."""
    article_before, first, plural, behind = found.groups()
    if not plural and behind and behind.lower() not in GRAMMAR and not behind.lower().endswith("ing"):
        return found[0]
    noun = f"{first}nimal{plural.lower()}"
    return f"{article_before}n {noun}" if article_before and not plural else noun


def _article_of_the_next(found: re.Match[str]) -> str:
    """Return the article before a made-up word, adapted to the word behind it: "an arafed dog" is "a dog".

    With an article and no word that it may describe, the made-up word stands for a noun: "an arafed and a cat".
    """
    article_before, gap, behind = found.groups()
    if article_before is None:
        return ""
    if not behind or behind.lower() in NO_NOUNS:
        return f"{article_before[0]}n animal{gap}"
    new = article(behind)
    return f"{new.capitalize() if article_before[0].isupper() else new} "


def _without_repeats(words: list[str], length: int) -> list[str]:
    """Return the words without those that the same ``length`` words follow; of these the last, with their punctuation, stay."""
    kept: list[str] = []
    for word in words:
        kept.append(word)
        last, before = kept[-length:], kept[-2 * length : -length]
        if _bare(last) == _bare(before) and not (length == 1 and _is_double(_bare(last)[0])):
            del kept[-2 * length : -length]
    return kept


def _bare(words: list[str]) -> list[str]:
    return [word.lower().rstrip(",.;") for word in words]


def _is_double(word: str) -> bool:
    """Return whether a word is rightly said twice, as in "pom pom", or is no word at all."""
    return not word.isalpha() or (word not in NO_NOUNS and any(is_noun(word + joint + word) for joint in (" ", "-", "")))
