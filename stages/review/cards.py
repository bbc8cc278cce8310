"""A pair as HTML: its pictures with their masks, the prompt with what it changes, the scores; the next ones are made ahead."""

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from difflib import SequenceMatcher
from html import escape
from threading import Lock

import numpy as np

from stages.corpus.corpus import Corpus
from stages.pairing.scores import MEASURED, QUALITY
from stages.pairing.training_set import PairRow, edit_sample
from stages.review.pairs import Pairs
from stages.review.pictures import picture_html

KEPT = 32  # cards in memory


class Cards:
    """The cards of pairs. A thread makes those that are announced, so that they are there when they are asked for."""

    def __init__(self, pairs: Pairs, corpus: Corpus | None = None) -> None:
        self._pairs, self._corpus = pairs, corpus or Corpus()
        self._cards: OrderedDict[int, Future[str]] = OrderedDict()
        self._thread, self._lock = ThreadPoolExecutor(1), Lock()

    def announce(self, places: Iterable[int]) -> None:
        """Begin to make cards that will probably be asked for, first things first."""
        for place in places:
            self._begin(place)

    def card(self, place: int) -> str:
        """Return a card.

        Raises:
            InputError: a picture or a mask is damaged, or the tables have changed.
        """
        return self._begin(place).result()

    def _begin(self, place: int) -> Future[str]:
        with self._lock:
            if place not in self._cards:
                self._cards[place] = self._thread.submit(self._make, place)
            if len(self._cards) > KEPT:
                self._cards.popitem(last=False)
            self._cards.move_to_end(place)
            return self._cards[place]

    def _make(self, place: int) -> str:
        row = self._pairs.row(place)
        sample = edit_sample(row, self._corpus)
        pictures = [
            _figure(name, picture_html(picture, name, np.asarray(mask) > 0), words)
            for name, picture, mask, words in (
                ("Source", sample.source, sample.source_mask, row.source_diff),
                ("Target", sample.target, sample.target_mask, row.target_diff),
            )
        ]
        facts = f'<p class="facts">{escape(f"{row.key} → {row.target_key}, {self._pairs.split(place)}")}</p>'
        return f'<div class="pictures">{"".join(pictures)}</div>{prompt_html(row)}{self._scores_html(place)}{facts}'

    def _scores_html(self, place: int) -> str:
        measured = {name: float(self._pairs.measured[name][place]) for name in MEASURED}
        cells = (
            f'<div title="{escape(score.explanation)}"><dt>{score.name}</dt><dd>{score.of(measured):.2f}</dd></div>'
            for score in QUALITY
            if score.name != "difference"  # the same number as the likeness
        )
        return f'<dl class="scores">{"".join(cells)}</dl>'


def prompt_html(row: PairRow) -> str:
    """Return the caption with what the prompt takes out and what it puts in."""
    return f'<p class="prompt">{changes_html(row.caption, row.edit_prompt)}</p>'


def changes_html(before: str, after: str) -> str:
    """Return two texts as one, word by word, with what only one of them has marked."""
    old, new = before.split(), after.split()
    parts = []
    for kind, start, end, first, last in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        out, into = escape(" ".join(old[start:end])), escape(" ".join(new[first:last]))
        parts += (
            [out] if kind == "equal" else [f"<{tag}>{words}</{tag}>" for tag, words in (("del", out), ("ins", into)) if words]
        )
    return " ".join(parts)


def _figure(name: str, picture: str, words: str) -> str:
    return f"<figure>{picture}<figcaption>{name}<span>masked: {escape(words)}</span></figcaption></figure>"
