"""Stage retrieve: find a pseudo-target for every edit with CLIP embeddings and FAISS (section 3.1)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import faiss

from stages.common.parquet import read_table, write_table
from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.core.params import Params, Retrieve
from stages.core.paths import CORPUS, EDITS, PAIRS
from stages.core.provenance import source_digest
from stages.core.shards import (
    SERIAL,
    Advance,
    InProcess,
    ShardFiles,
    ShardResult,
    ShardTask,
    StageCounts,
    list_shards,
    map_shards,
    pass_on_counts,
)
from stages.pairing.columns import EDIT_COLUMNS, EDITS_TABLE, PAIR_COLUMNS, SCORES
from stages.pairing.embeddings import embed_shards, read_embeddings
from stages.pairing.neighbours import Pair, build_index, find_pairs
from stages.pairing.split import held_out_pairs

EMBEDDINGS = PAIRS / "embeddings"
INDEX = PAIRS / "images.faiss"

Row = dict[str, Any]  # a row of a table


def retrieve(params: Params) -> None:
    """Write embeddings, a FAISS index over all images, and ``data/pairs/NAME.parquet``, the pairs by source shard."""
    config = params.retrieve
    embedding = embed_shards(config, CORPUS, EDITS, EMBEDDINGS, params.execution)
    shards = [path.stem for path in list_shards(EDITS, ".parquet")]
    embedded = read_embeddings(EMBEDDINGS, shards)
    keys = embedded.keys
    edits = _read_edits(shards)
    sources = _source_rows(edits, keys)

    index = build_index(embedded.images)
    _write_index(index)
    pairs, dropped = find_pairs(index, embedded.images, sources, embedded.captions, embedded.prompts, config)
    held_out = held_out_pairs([keys[p.source] for p in pairs], [keys[p.target] for p in pairs], config.held_out, params.seed)

    edit_of = {edit["key"]: edit for edit in edits}
    rows: dict[str, list[Row]] = {name: [] for name in shards}
    for pair, is_held_out in zip(pairs, held_out, strict=True):
        edit = edit_of[keys[pair.source]]
        rows[edit["shard"]].append(_row(edit, keys, pair, is_held_out))
    reasons: dict[str, Counter[str]] = {name: Counter() for name in shards}
    for place, reason in dropped.items():
        reasons[edits[place]["shard"]][reason] += 1

    counts = _write_pairs(rows, reasons, config)
    counts.done, counts.reused = len(pairs), 0
    counts.shards_done, counts.shards_reused = embedding.shards_done, embedding.shards_reused
    pass_on_counts(counts, PAIRS, EDITS)
    counts.report()
    print(f"  of the pairs, {sum(held_out):,} are held out")


def _read_edits(shards: Sequence[str]) -> list[Row]:
    """Return every edit in order, with the name of its ``shard``."""
    return [edit | {"shard": name} for name in shards for edit in read_table(EDITS / f"{name}.parquet", EDITS_TABLE)]


def _source_rows(edits: Sequence[Row], keys: Sequence[str]) -> list[int]:
    """Return for each edit the place of its source among the images."""
    row_of = {key: row for row, key in enumerate(keys)}
    stranger = next((edit for edit in edits if edit["key"] not in row_of), None)
    if stranger is not None:
        raise InputError(f"{EDITS}: no image in {CORPUS} has the key {stranger['key']!r}; run the stages from ingest on")
    return [row_of[edit["key"]] for edit in edits]


def _write_index(index: faiss.Index) -> None:
    """Write the index, unless the same bytes are there already."""
    content: bytes = faiss.serialize_index(index).tobytes()  # FAISS's own writer does not report a full disk
    if INDEX.is_file() and INDEX.read_bytes() == content:
        return
    with written_aside(INDEX) as temporary:
        temporary.write_bytes(content)


def _row(edit: Row, keys: Sequence[str], pair: Pair, is_held_out: bool) -> Row:
    row = {"key": edit["key"], "target_key": keys[pair.target], "split": "heldout" if is_held_out else "training"}
    return row | {name: edit[name] for name in EDIT_COLUMNS} | {name: getattr(pair, name) for name in SCORES}


def _write_pairs(rows: Mapping[str, list[Row]], reasons: Mapping[str, Counter[str]], config: Retrieve) -> StageCounts:
    """Write a table of pairs for each shard of edits.

    A target may come from any shard, so every run finds all pairs; only tables that change are written again.
    """
    tasks = [
        ShardTask(name=name, inputs=(INDEX,), samples=0, settings={"rows": rows[name], "dropped": reasons[name]})
        for name in rows
    ]
    settings = {"retrieve": config.model_dump(), "code": source_digest(__file__)}
    return map_shards(
        stage="retrieve",
        tasks=tasks,
        folder=PAIRS,
        suffixes=(".parquet",),
        settings=settings,
        worker=InProcess(_write_pairs_of_shard),
        execution=SERIAL,
    )


def _write_pairs_of_shard(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:  # noqa: ARG001
    rows = task.settings["rows"]
    write_table(files.output, rows, PAIR_COLUMNS)
    return ShardResult(done=len(rows), dropped=task.settings["dropped"])
