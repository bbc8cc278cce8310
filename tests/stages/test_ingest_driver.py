"""What the driver of ingest holds and sends: a worker gets the part that it reads, and with tars memory does not grow.

A folder's files are listed by the driver, some 300 bytes each.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest

from stages import ingest as stage
from stages.common.parquet import write_table
from stages.core.shards import ShardFiles, ShardResult, ShardTask, Work
from stages.corpus.shard import INDEX_COLUMNS, key_of
from stages.ingest import ingest
from tests.support.memory import least_peak
from tests.support.sources import params_for, write_folder

pytestmark = pytest.mark.usefixtures("workplace")

ROWS = 3_000  # in a shard


class Planned(Exception):
    pass


@pytest.mark.parametrize("kind", ["folder", "webdataset"])
def test_a_worker_gets_the_part_that_it_reads(monkeypatch, kind):
    """In bytes as they travel, for a source of 4 parts and for one of 32."""
    sent = []

    def plan(*, worker, tasks, **_):
        sent.append((len(pickle.dumps(worker)), max(len(pickle.dumps(task)) for task in tasks), len(tasks)))
        raise Planned

    monkeypatch.setattr(stage, "map_shards", plan)
    for parts in (4, 32):
        if kind == "folder":
            source = write_folder([(f"{number:05d}.png", "text", b"") for number in range(8 * parts)])
        else:
            for number in range(parts):
                Path(f"{number:05d}.tar").touch()
            source = {"kind": "webdataset", "path": "*.tar"}
        with pytest.raises(Planned):
            ingest(params_for(source, shard_size=8))
    (worker, task, few), (worker_of_many, task_of_many, many) = sent
    assert many > 4 * few
    assert worker_of_many == worker
    assert task_of_many < 2.5 * task  # a part of a folder ends at a name that its own digest chooses, so parts differ in size


class IndexWorker:
    """In place of the worker, whose memory is not the driver's: writes an index of ROWS pictures and an empty tar."""

    def __init__(self, section: object) -> None:
        self.section = section

    def load(self) -> Work:
        return self._make

    def _make(self, task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        rng = np.random.default_rng(int(task.name))
        empty = {"offset": 0, "length": 0, "width": 64, "height": 64, "alt_text": "text", "origin": "{}"}
        hashes = rng.integers(2**63, size=ROWS).tolist()
        rows = [
            {"key": key_of(task.name, place), "pixels": rng.bytes(32).hex(), "perceptual_hash": hashes[place], **empty}
            for place in range(ROWS)
        ]
        files.output.touch()
        write_table(files.outputs[1], rows, INDEX_COLUMNS)
        refused = [{"origin": f"{task.name}/{place}", "reason": "empty file"} for place in range(60)]
        return ShardResult(done=ROWS, notes=refused)


def test_the_drivers_memory_does_not_grow_with_the_images(monkeypatch):
    monkeypatch.setattr(stage, "IngestWorker", IndexWorker)
    monkeypatch.setattr(stage, "source_digest", lambda _: "")  # reading the code takes 2 MB for a moment, whatever the images
    peaks = []
    for shards in (4, 20):
        for number in range(shards):
            Path(f"{number:05d}.tar").touch()
        params = params_for({"kind": "webdataset", "path": "*.tar"}, near_duplicates=None)
        peaks.append(least_peak(lambda params=params: ingest(params)))  # the first, which makes the shards, is not measured
    assert peaks[1] - peaks[0] < 2_000_000  # bytes for 48,000 images more, whose digests alone would take 5 MB as strings
