"""What the driver of retrieve holds: a table's pairs, and a few numbers an image."""

import numpy as np
from safetensors.numpy import save_file

from stages import retrieve as stage
from stages.common.parquet import write_table
from stages.core.counts import StageCounts
from stages.core.paths import EDITS, PAIRS
from stages.core.shards import ShardFiles, ShardResult, ShardTask, pass_on_counts
from stages.corpus.shard import key_of
from stages.pairing.columns import EDIT_COLUMNS, EDITS_TABLE
from stages.pairing.embeddings import IMAGES, TEXTS
from stages.pairing.neighbours import SUFFIX
from stages.retrieve import CANDIDATES, EMBEDDINGS, retrieve
from tests.support.memory import least_peak
from tests.support.shards import map_in_process
from tests.support.tiny_corpus import params_for, rows_of

ROWS = 4_000
"""Images of a shard, each with an edit whose only candidate stands at its place in the next shard, or the one before."""


def write_inputs(shards: int) -> None:
    """Write what the workers of retrieve leave, and the edits, below the working directory."""
    names = [f"{shard:05d}" for shard in range(shards)]
    tasks = [ShardTask(name=name, inputs=(), samples=ROWS) for name in names]

    def write_edits(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        edit = dict.fromkeys(EDIT_COLUMNS, "text")
        write_table(files.output, [{"key": key_of(task.name, place)} | edit for place in range(ROWS)], EDITS_TABLE)
        return ShardResult(done=ROWS)

    def write_embeddings(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        keys = np.array([list(key_of(task.name, place).encode()) for place in range(ROWS)], np.uint8)
        digests = np.random.default_rng(int(task.name)).integers(256, size=(ROWS, 32), dtype=np.uint8)
        texts = {"alt_texts": np.full(2 * ROWS, ord("a"), np.uint8), "alt_bounds": np.arange(0, 2 * ROWS + 1, 2)}
        save_file({"keys": keys, "digests": digests, "places": np.zeros((ROWS, 4), np.int64), **texts}, files.outputs[0])
        save_file({"sources": np.arange(ROWS)}, files.outputs[1])
        return ShardResult(done=ROWS)

    def write_candidates(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        ends, targets = np.arange(1, ROWS + 1), np.arange(ROWS) + ROWS * (int(task.name) ^ 1)
        scores, objections = np.zeros((ROWS, 5), np.float32), np.zeros((ROWS, 5), np.int64)
        save_file({"ends": ends, "targets": targets, "scores": scores, "objections": objections}, files.output)
        return ShardResult(done=ROWS)

    pass_on_counts(map_in_process(write_edits, tasks, EDITS, ".parquet"), EDITS)
    map_in_process(write_embeddings, tasks, EMBEDDINGS, (IMAGES, TEXTS))
    map_in_process(write_candidates, tasks, CANDIDATES, SUFFIX)


def test_the_drivers_memory_does_not_grow_with_the_pairs(models, workplace, monkeypatch):
    monkeypatch.setattr(stage, "embed_shards", lambda *_: StageCounts(stage="embed"))
    for name in ("_build_indexes", "_search"):
        monkeypatch.setattr(stage, name, lambda *_: None)
    monkeypatch.setattr(stage, "_recall_of", lambda _: {})
    monkeypatch.setattr(stage, "source_digest", lambda _: "")  # reading the code takes 2 MB for a moment, whatever the pairs
    params = params_for(models, retrieve={"held_out": 0.25}, ingest={"shard_size": ROWS})

    def retrieve_all() -> None:
        for table in PAIRS.glob("*.parquet"):
            table.unlink()  # so that all are written
        retrieve(params)

    peaks = []
    for shards in (2, 10):
        write_inputs(shards)
        peaks.append(least_peak(retrieve_all))
    rows = rows_of(PAIRS)
    assert (len(rows), sum(row["split"] == "heldout" for row in rows)) == (10 * ROWS, 10 * ROWS // 4)
    assert peaks[1] - peaks[0] < 2_000_000  # bytes for 32,000 pairs more; strings and lists of them would take 5 MB and more
