"""Stage retrieve: find a pseudo-target for every edit with CLIP embeddings and FAISS (section 3.1)."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from safetensors.numpy import load_file, save_file

import stages.models
from stages.corpus import samples
from stages.corpus.samples import read_corpus
from stages.files import written_aside
from stages.models import Clip, identity, load_clip
from stages.pairing import neighbours, split
from stages.pairing.neighbours import EDIT_COLUMNS, PAIR_COLUMNS, SCORES, Embeddings, Pair, build_index, find_pairs
from stages.pairing.split import held_out_pairs
from stages.params import Params, Retrieve
from stages.run import InputError, run
from stages.shards import ShardResult, ShardTask, StageCounts, count_samples, list_shards, map_shards, source_digest
from stages.tables import batched, read_table, write_table

CORPUS = Path("data/corpus")
EDITS = Path("data/edits")
PAIRS = Path("data/pairs")
EMBEDDINGS = PAIRS / "embeddings"
INDEX = PAIRS / "images.faiss"

EDITS_TABLE = dict.fromkeys(("key", *EDIT_COLUMNS), "string")


def retrieve(params: Params) -> None:
    """Write embeddings, a FAISS index over all images, and ``data/pairs/NAME.parquet``, the pairs by source shard."""
    config = params.retrieve
    embedded = _embed_all(config)
    shards = list_shards(EDITS, ".parquet")
    embeddings = {path.stem: load_file(EMBEDDINGS / f"{path.stem}.safetensors") for path in shards}
    images = np.concatenate([embeddings[path.stem]["images"] for path in shards])
    keys = [sample_key for path in shards for sample_key in _keys(embeddings[path.stem]["keys"])]
    edits = [edit | {"shard": path.stem} for path in shards for edit in read_table(path, EDITS_TABLE)]
    row_of = {key: row for row, key in enumerate(keys)}
    stranger = next((edit for edit in edits if edit["key"] not in row_of), None)
    if stranger is not None:
        raise InputError(f"{EDITS}: key {stranger['key']!r} is of no image in {CORPUS}; run the stages from ingest on")

    index = build_index(images)
    _write_index(index)
    captions, prompts = (np.concatenate([embeddings[path.stem][name] for path in shards]) for name in ("captions", "prompts"))
    pairs, dropped = find_pairs(index, images, [row_of[edit["key"]] for edit in edits], captions, prompts, config)

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
    counts.shards_done, counts.shards_reused = embedded.shards_done, embedded.shards_reused
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


def _embed_all(config: Retrieve) -> StageCounts:
    """Embed images, captions and edit prompts, shard by shard."""
    clip = load_clip(config.clip)
    tasks = []
    for path in list_shards(EDITS, ".parquet"):
        images = CORPUS / f"{path.stem}.tar"
        tasks.append(ShardTask(name=path.stem, inputs=(images, path), samples=count_samples(images, ".tar")))

    def work(task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:
        corpus, edits = task.inputs
        keys, images = [], []
        for part in batched(read_corpus(corpus), config.batch):
            keys += [sample.key for sample in part]
            images.append(clip.embed_images([sample.image for sample in part]).cpu().numpy())
            advance(len(part))
        rows = read_table(edits, EDITS_TABLE)
        save_file(
            {
                "keys": np.frombuffer("\n".join(keys).encode(), dtype=np.uint8),
                "images": np.concatenate(images) if images else np.zeros((0, clip.width), np.float32),
                "captions": _embed_texts(clip, [row["caption"] for row in rows], config.batch),
                "prompts": _embed_texts(clip, [row["edit_prompt"] for row in rows], config.batch),
            },
            output,
        )
        return ShardResult(done=len(keys))

    code = source_digest(sys.modules[__name__], samples, stages.models)
    settings = {"clip": identity(config.clip), "batch": config.batch, "code": code}
    return map_shards(stage="embed", tasks=tasks, folder=EMBEDDINGS, suffix=".safetensors", settings=settings, work=work)


def _embed_texts(clip: Clip, texts: list[str], batch: int) -> Embeddings:
    parts = [clip.embed_texts(part).cpu().numpy() for part in batched(texts, batch)]
    return np.concatenate(parts) if parts else np.zeros((0, clip.width), np.float32)


def _keys(encoded: np.ndarray[Any, Any]) -> list[str]:
    text = encoded.tobytes().decode()
    return text.split("\n") if text else []


def _write_pairs(rows: dict[str, list[dict[str, Any]]], reasons: dict[str, Counter[str]], config: Retrieve) -> StageCounts:
    """Write one table of pairs for each shard of edits; a target may come from any shard, so all are found anew."""
    tasks = [
        ShardTask(name=name, inputs=(INDEX,), samples=0, settings={"rows": found, "dropped": reasons[name]})
        for name, found in rows.items()
    ]

    def work(task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:  # noqa: ARG001
        write_table(output, rows[task.name], PAIR_COLUMNS)
        return ShardResult(done=len(rows[task.name]), dropped=reasons[task.name])

    settings = {"retrieve": config.model_dump(), "code": source_digest(sys.modules[__name__], neighbours, split)}
    return map_shards(stage="retrieve", tasks=tasks, folder=PAIRS, suffix=".parquet", settings=settings, work=work)


if __name__ == "__main__":
    run(retrieve)
