"""Stage retrieve: find a pseudo-target for every edit with CLIP embeddings and FAISS (section 3.1)."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss

from stages.common.parquet import read_table, write_table
from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.core.params import Params, Retrieve
from stages.core.provenance import source_digest
from stages.core.shards import ShardResult, ShardTask, StageCounts, list_shards, map_shards
from stages.pairing.columns import EDIT_COLUMNS, EDITS_TABLE, PAIR_COLUMNS, SCORES
from stages.pairing.embeddings import embed_shards, read_embeddings
from stages.pairing.neighbours import Pair, build_index, find_pairs
from stages.pairing.split import held_out_pairs

CORPUS = Path("data/corpus")
EDITS = Path("data/edits")
PAIRS = Path("data/pairs")
EMBEDDINGS = PAIRS / "embeddings"
INDEX = PAIRS / "images.faiss"


def retrieve(params: Params) -> None:
    """Write embeddings, a FAISS index over all images, and ``data/pairs/NAME.parquet``, the pairs by source shard."""
    config = params.retrieve
    made = embed_shards(config, CORPUS, EDITS, EMBEDDINGS)
    shards = list_shards(EDITS, ".parquet")
    embedded = read_embeddings(EMBEDDINGS, [path.stem for path in shards])
    keys = embedded.keys
    edits = [edit | {"shard": path.stem} for path in shards for edit in read_table(path, EDITS_TABLE)]
    row_of = {key: row for row, key in enumerate(keys)}
    stranger = next((edit for edit in edits if edit["key"] not in row_of), None)
    if stranger is not None:
        raise InputError(f"{EDITS}: key {stranger['key']!r} is of no image in {CORPUS}; run the stages from ingest on")

    index = build_index(embedded.images)
    _write_index(index)
    sources = [row_of[edit["key"]] for edit in edits]
    pairs, dropped = find_pairs(index, embedded.images, sources, embedded.captions, embedded.prompts, config)

    edit_of = {edit["key"]: edit for edit in edits}
    held_out = held_out_pairs([keys[p.source] for p in pairs], [keys[p.target] for p in pairs], config.held_out, params.seed)
    rows: dict[str, list[dict[str, Any]]] = {path.stem: [] for path in shards}
    reasons: dict[str, Counter[str]] = {path.stem: Counter() for path in shards}
    for place, reason in dropped.items():
        reasons[edits[place]["shard"]][reason] += 1
    for pair, aside in zip(pairs, held_out, strict=True):
        edit = edit_of[keys[pair.source]]
        rows[edit["shard"]].append(_row(edit, keys, pair, aside))
    counts = _write_pairs(rows, reasons, config)
    counts.done, counts.reused = len(pairs), 0
    counts.shards_done, counts.shards_reused = made.shards_done, made.shards_reused
    counts.report()
    print(f"  of the pairs, {sum(held_out):,} are held out")


def _write_index(index: faiss.Index) -> None:
    """Write the index, unless it lies there already."""
    found: bytes = faiss.serialize_index(index).tobytes()  # FAISS's own writer does not tell when the disk is full
    if INDEX.is_file() and INDEX.read_bytes() == found:
        return
    with written_aside(INDEX) as temporary:
        temporary.write_bytes(found)


def _row(edit: dict[str, Any], keys: list[str], pair: Pair, aside: bool) -> dict[str, Any]:
    row = {"key": edit["key"], "target_key": keys[pair.target], "split": "heldout" if aside else "training"}
    return row | {name: edit[name] for name in EDIT_COLUMNS} | {name: getattr(pair, name) for name in SCORES}


def _write_pairs(rows: dict[str, list[dict[str, Any]]], reasons: dict[str, Counter[str]], config: Retrieve) -> StageCounts:
    """Write one table of pairs for each shard of edits; a target may come from any shard, so all are found anew."""
    tasks = [
        ShardTask(name=name, inputs=(INDEX,), samples=0, settings={"rows": found, "dropped": reasons[name]})
        for name, found in rows.items()
    ]

    def work(task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:  # noqa: ARG001
        write_table(output, rows[task.name], PAIR_COLUMNS)
        return ShardResult(done=len(rows[task.name]), dropped=reasons[task.name])

    settings = {"retrieve": config.model_dump(), "code": source_digest(__file__)}
    return map_shards(stage="retrieve", tasks=tasks, folder=PAIRS, suffix=".parquet", settings=settings, work=work)
