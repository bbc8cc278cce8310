"""What the driver of retrieve holds: a table's pairs, and a few numbers an image."""

import json

import numpy as np
from safetensors.numpy import save_file

from stages import retrieve as stage
from stages.common.parquet import write_table
from stages.core.paths import CORPUS, EDITS, PAIRS
from stages.core.shards import ShardFiles, ShardResult, ShardTask, Work, pass_on_counts
from stages.corpus.duplicates import duplicates_path
from stages.corpus.shard import key_of
from stages.pairing import embedding_worker
from stages.pairing.columns import EDIT_COLUMNS, EDITS_TABLE
from stages.pairing.recall import RANKS
from stages.retrieve import retrieve
from tests.support.memory import least_peak
from tests.support.shards import map_in_process
from tests.support.tiny_corpus import params_for, rows_of

ROWS = 2000
"""Images of a shard, each with an edit that has one candidate."""


class StandIn:
    """In place of a worker, whose memory is not the driver's; a subclass writes what the worker would."""

    def __init__(self, **_: object) -> None:
        pass

    def load(self) -> Work:
        return self.make

    def make(self, task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        raise NotImplementedError


class Embeddings(StandIn):
    def make(self, task, files, advance):
        keys = np.array([list(key_of(task.name, place).encode()) for place in range(ROWS)], np.uint8)
        digests = np.random.default_rng(int(task.name)).integers(256, size=(ROWS, 32), dtype=np.uint8)
        texts = {"alt_texts": np.full(2 * ROWS, ord("a"), np.uint8), "alt_bounds": np.arange(0, 2 * ROWS + 1, 2)}
        facts = {"marks": digests.view(np.int64)[:, 0].copy(), "places": np.zeros((ROWS, 4), np.int64), **texts}
        save_file({"keys": keys, "digests": digests}, files.outputs[0])
        save_file({"sources": np.arange(ROWS), "digests": digests}, files.outputs[1])
        save_file(facts, files.outputs[2])
        return ShardResult(done=ROWS)


class Index(StandIn):
    def make(self, task, files, advance):
        files.outputs[0].touch()
        files.outputs[1].write_text(json.dumps({"index": "Flat", "shards": task.settings["shards"]}))
        return ShardResult(done=task.samples)


class Recall(StandIn):
    def make(self, task, files, advance):
        files.output.write_text(json.dumps({"edits": ROWS} | {f"recall at {rank}": 1.0 for rank in RANKS}))
        return ShardResult(done=ROWS)


class Candidates(StandIn):
    """The candidate of the edit at a place of a shard stands at the same place of a shard that is drawn for every edit."""

    def make(self, task, files, advance):
        shards = len(list(EDITS.glob("*.parquet")))
        drawn = (np.arange(ROWS) * 7919 + 1 + int(task.name)) % shards
        targets = np.arange(ROWS) + ROWS * np.where(drawn == int(task.name), (drawn + 1) % shards, drawn)
        scores, objections = np.zeros((ROWS, 5), np.float32), np.zeros((ROWS, 5), np.int64)
        save_file(
            {"ends": np.arange(1, ROWS + 1), "targets": targets, "scores": scores, "objections": objections}, files.output
        )
        return ShardResult(done=ROWS)


def write_inputs(shards: int) -> None:
    """Write edits, and a corpus without a picture, below the working directory."""
    names = [f"{shard:05d}" for shard in range(shards)]
    tasks = [ShardTask(name=name, inputs=(), samples=ROWS) for name in names]

    def write_corpus(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        for path in (*files.outputs, duplicates_path(CORPUS, task.name)):
            path.parent.mkdir(exist_ok=True)
            path.touch()
        return ShardResult(done=ROWS)

    def write_edits(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        edit = dict.fromkeys(EDIT_COLUMNS, "text")
        write_table(files.output, [{"key": key_of(task.name, place)} | edit for place in range(ROWS)], EDITS_TABLE)
        return ShardResult(done=ROWS)

    map_in_process(write_corpus, tasks, CORPUS, (".tar", ".parquet"))
    pass_on_counts(map_in_process(write_edits, tasks, EDITS, ".parquet"), EDITS)


def test_the_driver_holds_few_numbers_an_image_and_no_pair(models, workplace, monkeypatch):
    monkeypatch.setattr(embedding_worker, "EmbeddingWorker", Embeddings)
    for name, worker in {"IndexWorker": Index, "RecallWorker": Recall, "CandidateWorker": Candidates}.items():
        monkeypatch.setattr(stage, name, worker)
    for module in (stage, embedding_worker):  # reading the code takes 2 MB for a moment, whatever the pairs
        monkeypatch.setattr(module, "source_digest", lambda _: "")
    params = params_for(models, retrieve={"held_out": 0.25, "max_uses": 100}, ingest={"shard_size": ROWS})

    def retrieve_all() -> None:
        for table in PAIRS.glob("*.parquet"):
            table.unlink()  # so that all are written
        retrieve(params)

    peaks = []
    for shards in (2, 10):
        write_inputs(shards)
        peaks.append(least_peak(retrieve_all))
    rows = rows_of(PAIRS)
    assert len(rows) == 10 * ROWS
    assert len({row["target_key"][:5] for row in rows if row["key"].startswith("00000")}) == 9
    assert peaks[1] - peaks[0] < 3e6  # bytes for 16,000 pairs more: some 80 an image; as strings and lists it is 20 MB
