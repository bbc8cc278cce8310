"""Samples of the dataset for its page: pairs of each kind of edit, and what the stages dropped, by reason.

They are taken from SHARDS shards at equal distances, in the order of seeds that their keys have: by nobody's choice, and the
same in every run. So the cost does not grow with the corpus, except for reading the lists of refused and repeated files.
"""

import csv
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.common.parquet import read_columns, read_table
from stages.common.seeds import derive_seed
from stages.common.text import one_line
from stages.core.params import Params
from stages.core.paths import CAPTIONS, CORPUS, DECISIONS, EDITS, MASKS, PAIRS, TRAINING_SET
from stages.core.shards import list_shards
from stages.corpus.corpus import Corpus, CorpusRow
from stages.corpus.lists import REFUSED, REPEATS
from stages.corpus.samples import EditSample
from stages.language.captions import text_to_edit
from stages.language.mutation import Dropped, find_edits
from stages.language.rules import read_rules
from stages.pairing.choice import REVIEWED, reason_of
from stages.pairing.columns import EDITS_TABLE, TEXT_COLUMNS
from stages.pairing.decisions import Verdict, latest_decisions
from stages.pairing.neighbours import SUFFIX as CANDIDATES_SUFFIX
from stages.pairing.neighbours import read_candidates
from stages.pairing.selection import objections
from stages.pairing.training_set import PairRow, edit_sample, read_pairs
from stages.report.pictures import overlay

SHARDS = 10  # that samples are taken from
SHOWN = 4  # samples of a kind
TRIED = 100  # samples of a shard that are looked at
SUFFIX = ".parquet"

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A dropped sample with what there is to say about it."""

    words: str
    more: str = ""
    pictures: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PairExample:
    """A training pair, and the names of its pictures in the source."""

    pair: EditSample
    files: str


Named = tuple[str, Callable[[], Example]]
"""A reason, and a sample of it that is made when it is wanted."""


def pairs_by_relation(corpus: Corpus, seed: int) -> dict[str, list[PairExample]]:
    """Return training pairs of each kind of edit, at most SHOWN of each.

    Raises:
        InputError: a table, a picture or a mask is damaged.
    """
    found: dict[str, list[PairExample]] = {}
    for table in _some(list_shards(TRAINING_SET, SUFFIX)):
        rows = _numbered(read_table(table, {"key": "string", "relation": "string"}))
        for row in _in_order(rows, seed):
            samples = found.setdefault(one_line(row["relation"]), [])
            if len(samples) < SHOWN:
                (pair,) = read_pairs(table, [row["place"]])
                samples.append(PairExample(pair=edit_sample(pair, corpus), files=_files(corpus, pair)))
    return dict(sorted(found.items()))


def sampled_texts(seed: int) -> list[str]:
    """Return captions and edit prompts of some edits.

    Raises:
        InputError: a table is damaged.
    """
    rows = [row for table in _some(list_shards(EDITS, SUFFIX)) for row in _tried(read_table(table, EDITS_TABLE), seed)]
    return [one_line(row[name]) for row in rows for name in TEXT_COLUMNS]


def dropped_samples(corpus: Corpus, params: Params) -> dict[str, dict[str, list[Example]]]:
    """Return samples that were dropped: stage → reason → at most SHOWN samples.

    Raises:
        InputError: a table or a picture is damaged.
    """
    found = {
        "ingest": _gathered(_not_taken_in()),
        "caption": _gathered(_without_caption(corpus, params)),
        "mutate": _gathered(_without_edit(corpus, params)),
        "retrieve": _gathered(_without_target(corpus, params.seed)),
        "segment": _gathered(_without_mask(corpus, params)),
    }
    return {stage: samples for stage, samples in found.items() if samples}


def _not_taken_in() -> Iterator[Named]:
    for row in _lines(CORPUS / REFUSED):
        reason, _, detail = row["reason"].partition(": ")
        yield reason, partial(Example, words=one_line(row["origin"]), more=detail)
    for row in _lines(CORPUS / REPEATS):
        yield row["reason"], partial(Example, words=one_line(row["origin"]), more=f"repeats {one_line(row['duplicate_of'])}")


def _without_caption(corpus: Corpus, params: Params) -> Iterator[Named]:
    for table in _some(list_shards(CAPTIONS, SUFFIX)):
        for row in _tried((row for row in _captions(table) if not row["caption"]), params.seed):
            given = corpus.row(row["key"]).alt_text
            yield caption_reason(params, given), partial(_of_picture, corpus, row["key"], "")


def caption_reason(params: Params, given: str) -> str:
    """Return why a picture has no caption, in the words of the stage caption.

    Args:
        params: what captions are used.
        given: the picture's own text.
    """
    if params.caption.use == "blip":
        return "empty caption"
    return "given caption too long" if given else "no caption given"


def _without_edit(corpus: Corpus, params: Params) -> Iterator[Named]:
    rules = read_rules(params.mutate)
    for table in _some(list_shards(CAPTIONS, SUFFIX)):
        edited = set(read_columns(EDITS / table.name, {"key": "string"})["key"].to_pylist())
        for row in _tried((row for row in _captions(table) if row["caption"] and row["key"] not in edited), params.seed):
            caption = text_to_edit(row["caption"], params.caption)
            reason = find_edits(caption, rules)
            if isinstance(reason, Dropped):
                yield reason.value, partial(_of_picture, corpus, row["key"], caption)


def _without_target(corpus: Corpus, seed: int) -> Iterator[Named]:
    tables = list_shards(PAIRS, SUFFIX)
    names = [path.stem for path in tables]
    decisions = latest_decisions(DECISIONS).items()
    refused = {(pair.source, pair.prompt) for pair, decision in decisions if decision.decision is Verdict.DROP}
    for shard in _some(list_shards(EDITS, SUFFIX)):
        table = tables[max(0, bisect_right(names, shard.stem) - 1)]  # it may hold several shards, and has the first one's name
        paired = set(read_columns(table, {"key": "string"})["key"].to_pylist())
        candidates = read_candidates(PAIRS / "candidates" / f"{shard.stem}{CANDIDATES_SUFFIX}")
        counts = np.diff(candidates.ends, prepend=0)
        for row in _tried((row for row in _numbered(read_table(shard, EDITS_TABLE)) if row["key"] not in paired), seed):
            reason = reason_of(candidates.objections[row["place"]].tolist(), int(counts[row["place"]]))
            if refused and (corpus.row(row["key"]).pixels, row["edit_prompt"]) in refused:
                reason = REVIEWED
            words = f"{one_line(row['caption'])} → {one_line(row['edit_prompt'])}"
            yield reason, partial(_of_picture, corpus, row["key"], words)


def _without_mask(corpus: Corpus, params: Params) -> Iterator[Named]:
    areas = {"source_mask_area": "float64", "target_mask_area": "float64"}
    for table in _some(list_shards(MASKS, SUFFIX)):
        columns = read_columns(table, {"key": "string", **areas})
        reasons = objections(columns, params.segment.min_area, params.segment.max_area)
        rows = _numbered(columns.select(["key"]).to_pylist())
        for row in _tried((row for row in rows if reasons[row["place"]]), params.seed):
            yield reasons[row["place"]], partial(_of_pair, corpus, table, row["place"])


def _of_picture(corpus: Corpus, key: str, words: str) -> Example:
    row = corpus.row(key)
    return Example(words=words or one_line(row.alt_text), more=_name(row), pictures=(corpus.picture_of(row),))


def _of_pair(corpus: Corpus, table: Path, place: int) -> Example:
    (row,) = read_pairs(table, [place])
    pair = edit_sample(row, corpus)
    pictures = overlay(pair.source, pair.source_mask), overlay(pair.target, pair.target_mask)
    words = f"{pair.source_diff} → {pair.target_diff}"
    return Example(
        words=f"{pair.source_caption} → {pair.edit_prompt}", more=f"{words}; {_files(corpus, row)}", pictures=pictures
    )


def _files(corpus: Corpus, pair: PairRow) -> str:
    """Return the names of a pair's pictures in the source; a drawn target has none."""
    keys = [pair.key] if pair.is_rendered else [pair.key, pair.target_key]
    return " → ".join(map(_name, corpus.rows_of(keys)))


def _name(row: CorpusRow) -> str:
    return one_line(str(row.origin.get("name", row.key)))


def _gathered(samples: Iterable[Named]) -> dict[str, list[Example]]:
    """Return at most SHOWN samples of each reason."""
    found: dict[str, list[Example]] = {}
    for reason, make in samples:
        of_reason = found.setdefault(reason, [])
        if len(of_reason) < SHOWN:
            of_reason.append(make())
    return dict(sorted(found.items()))


def _captions(table: Path) -> list[Row]:
    return read_table(table, {"key": "string", "caption": "string"})


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _numbered(rows: Iterable[Row]) -> list[Row]:
    """Return the rows, each with its place in the table."""
    return [row | {"place": place} for place, row in enumerate(rows)]


def _in_order(rows: Iterable[Row], seed: int) -> list[Row]:
    """Return rows in the order of seeds that their keys have."""
    return sorted(rows, key=lambda row: derive_seed(seed, "example", row["key"]))


def _tried(rows: Iterable[Row], seed: int) -> list[Row]:
    return _in_order(rows, seed)[:TRIED]


def _some(shards: Sequence[Path]) -> list[Path]:
    """Return at most SHARDS of some shards, at equal distances."""
    return list(shards) if len(shards) <= SHARDS else [shards[number * len(shards) // SHARDS] for number in range(SHARDS)]
