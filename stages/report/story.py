"""How a model was made, as its report shows it: the losses, the first training pairs, the dropped samples."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from stages.core.errors import InputError, first_line
from stages.core.paths import IEDIT_LOSSES, TRAINING_SET
from stages.core.shards import list_shards, read_counts
from stages.corpus.corpus import Corpus
from stages.corpus.samples import EditSample
from stages.diffusion.losses import TERM_NAMES
from stages.pairing.training_set import SUFFIX, edit_sample, read_pairs

SHOWN_PAIRS = 8  # training pairs in the report
WEIGHTED = "Losses of Eq 12, weighted"
PANELS = {
    WEIGHTED: [f"weighted/{name}" for name in TERM_NAMES],
    "Losses, raw": [f"raw/{name}" for name in TERM_NAMES],
    "Gradient norm": ["gradient_norm"],
}
"""Title of a plot → the columns of the training log in it."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """How the model was made."""

    losses: list[dict[str, float]]  # one row per step
    pairs: list[EditSample]  # the first of the training set
    dropped: dict[str, dict[str, int]]  # stage → reason → number of samples

    def panels(self) -> dict[str, list[str]]:
        """Return PANELS without the terms that were off, which are zero in every step."""
        panels = {title: _nonzero(names, self.losses) for title, names in PANELS.items()}
        return {title: names for title, names in panels.items() if names}


def read_story() -> Story:
    """Read the losses of the training, the first training pairs, and what each stage dropped.

    Raises:
        InputError: one of them is missing or damaged.
    """
    rows = islice((row for table in list_shards(TRAINING_SET, SUFFIX) for row in read_pairs(table)), SHOWN_PAIRS)
    corpus = Corpus()
    pairs = [edit_sample(row, corpus) for row in rows]
    return Story(losses=_read_losses(), pairs=pairs, dropped=read_counts(TRAINING_SET))


def _read_losses() -> list[dict[str, float]]:
    try:
        with IEDIT_LOSSES.open(newline="", encoding="utf-8") as file:
            losses = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as error:  # TypeError: a line with too few or too many values
        raise InputError(f"{IEDIT_LOSSES}: missing or damaged: {first_line(error)}; run the stage train") from error
    lacking = {"step", *chain(*PANELS.values())}.difference(*losses[:1])
    if lacking:
        raise InputError(f"{IEDIT_LOSSES}: has no column {min(lacking)}; run the stage train")
    return losses


def _nonzero(names: Sequence[str], losses: Sequence[Mapping[str, float]]) -> list[str]:
    return [name for name in names if any(row[name] for row in losses)]
