"""The dataset in figures: what each stage kept and dropped, scores, masks, words, targets; and how two versions differ.

They are made from the records beside the shards and from columns of their tables, as those of :mod:`stages.report.night`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from stages.common.parquet import read_columns
from stages.common.text import one_line
from stages.core.paths import CORPUS, HELD_OUT, TRAINING_SET
from stages.core.shards import list_shards, read_counts, shard_totals
from stages.corpus.duplicates import REASONS as DUPLICATES
from stages.pairing.columns import SCORES
from stages.report.night import FOLDERS, SUFFIX, quantiles, read_values

BINS = 40  # of a histogram
MOST_TERMS = 30  # changes of words in the list
ASIDE = "segment held out"  # the name of the held-out pairs' counts


class Histogram(BaseModel):
    """How often values lie where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float  # the smallest value
    high: float  # the largest
    counts: list[int]  # in BINS of equal width from one to the other; empty if there is no value


class Change(BaseModel):
    """A change of words, and the number of pairs that have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: str
    pairs: int


class Figures(BaseModel):
    """A version of the dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept: dict[str, int]  # stage → samples that later stages see, in the order of the stages
    dropped: dict[str, dict[str, int]]  # stage → reason → samples
    relations: dict[str, int]  # kind of edit → training pairs
    changes: list[Change]  # the most frequent changes of words in the training pairs
    scores: dict[str, Histogram]  # of the pairs, before masks are judged
    areas: dict[str, Histogram]  # of source and target masks in the training set, shares of the picture
    uses: dict[int, int]  # number of pairs that have a picture as their target → pictures
    medians: dict[str, float]  # of scores, mask areas, words in a caption, and uses of a target


def measure_dataset() -> Figures:
    """Return the figures of the data as they are now.

    Raises:
        InputError: a stage has not run to its end, or what it wrote is damaged.
    """
    dropped = read_counts(TRAINING_SET)
    held_out, unusable = shard_totals(HELD_OUT)
    written, _ = shard_totals(CORPUS)
    duplicates = sum(dropped["ingest"].get(reason, 0) for reason in DUPLICATES)
    values = dict(read_values())
    uses = Counter(values["uses"].tolist())
    return Figures(
        kept={"ingest": written - duplicates}
        | {stage: shard_totals(folder)[0] for stage, folder in FOLDERS.items()}
        | {ASIDE: held_out},
        dropped={stage: dropped.get(stage, {}) for stage in ("ingest", *FOLDERS)} | {ASIDE: dict(sorted(unusable.items()))},
        relations={relation: count for (relation,), count in sorted(_counted("relation").items())},
        changes=_most_frequent_changes(),
        scores={score: histogram(values[f"scores/{score}"]) for score in SCORES},
        areas={side: histogram(values[f"areas/{side}"]) for side in ("source", "target")},
        uses={count: uses[count] for count in sorted(uses)},
        medians={name: round(quantiles(name, each)[f"{name}/p50"], 4) for name, each in values.items() if len(each)},
    )


def differences(before: Figures, now: Figures) -> list[tuple[str, str, str, str]]:
    """Return what differs between two versions, as (what, before, now, change).

    Shares are of what reached the stage, and of the training pairs for kinds of edits.
    """
    rows = [(f"{stage}: kept", *_numbers(before.kept.get(stage, 0), count)) for stage, count in now.kept.items()]
    for name, of_before, of_now in _shares(before, now):
        rows.append((name, f"{of_before:.1%}", f"{of_now:.1%}", f"{100 * (of_now - of_before):+.1f} points"))
    for name in sorted({*before.medians, *now.medians}):
        first, second = (each.medians.get(name) for each in (before, now))
        change = "" if first is None or second is None else f"{second - first:+.4g}"
        rows.append((f"median of {name}", _median(first), _median(second), change))
    return [row for row in rows if row[1] != row[2]]


def new_and_gone(before: Figures, now: Figures) -> tuple[list[str], list[str]]:
    """Return the changes of words that are among the most frequent now and were not, and those that were and are not."""
    first, second = ([f"{each.source} → {each.target}" for each in figures.changes] for figures in (before, now))
    return [each for each in second if each not in first], [each for each in first if each not in second]


def _median(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _numbers(before: int, now: int) -> tuple[str, str, str]:
    return f"{before:,}", f"{now:,}", f"{now - before:+,}"


def _shares(before: Figures, now: Figures) -> Iterator[tuple[str, float, float]]:
    for stage in now.kept:
        first, second = before.dropped.get(stage, {}), now.dropped[stage]
        reached = [max(1, each.kept.get(stage, 0) + sum(each.dropped.get(stage, {}).values())) for each in (before, now)]
        for reason in sorted({*first, *second}):
            yield f"{stage}: {reason}", first.get(reason, 0) / reached[0], second.get(reason, 0) / reached[1]
    totals = [max(1, sum(each.relations.values())) for each in (before, now)]
    for relation in sorted({*before.relations, *now.relations}):
        yield f"edits: {relation}", before.relations.get(relation, 0) / totals[0], now.relations.get(relation, 0) / totals[1]


def _counted(*columns: str) -> Counter[tuple[str, ...]]:
    """Return how many training pairs have which values in some columns of texts. All rows count; memory holds one shard."""
    counts = Counter[tuple[str, ...]]()
    for path in list_shards(TRAINING_SET, SUFFIX):
        table = read_columns(path, dict.fromkeys(columns, "string"))
        for row in table.group_by(list(columns)).aggregate([([], "count_all")]).to_pylist():
            counts[tuple(one_line(row[name]) for name in columns)] += row["count_all"]
    return counts


def _most_frequent_changes() -> list[Change]:
    counts = _counted("source_term", "target_term")
    first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_TERMS]
    return [Change(source=source, target=target, pairs=pairs) for (source, target), pairs in first]


def histogram(values: NDArray[Any]) -> Histogram:
    """Return the histogram of values (n,)."""
    if not len(values):
        return Histogram(low=0.0, high=0.0, counts=[])
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values.astype(np.float64), BINS, (low, high))
    return Histogram(low=round(low, 6), high=round(high, 6), counts=counts.tolist())
