"""Images a second of caption, embed and segment, beside their networks alone on batches that are in memory."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from stages.caption import CaptionWorker
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.paths import CORPUS, EDITS, PAIRS
from stages.core.shards import ShardFiles, ShardTask, Work, list_shards
from stages.corpus.corpus import Corpus
from stages.pairing.embedding_worker import EmbeddingWorker
from stages.pairing.embeddings import FACTS, IMAGES, TEXTS
from stages.pairing.masking import MaskingWorker
from stages.studies.scale.figures import ratio
from stages.studies.scale.growth import new_project
from stages.studies.scale.project import run_all

UPSTREAM = ("ingest", "caption", "mutate", "retrieve")
IMAGES_MEASURED = 1000
ROUNDS = 5

Network = tuple[Any, str]  # a model, and the name of the method that does its work
Calls = list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]]


def measure_stages(folder: Path) -> dict[str, Any]:
    """Return the speed of each stage's worker and of its network alone, which take turns, with one thread each.

    A worker reads and decodes in a second thread, so this is wall time: nothing else should run on the machine.
    """
    project = new_project(folder, IMAGES_MEASURED)
    run_all(project, UPSTREAM)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with chdir(project.folder), torch.no_grad():
            return _compare_all(read_params())
    finally:
        torch.set_num_threads(threads)


def _compare_all(params: Params) -> dict[str, Any]:
    corpus = Corpus(CORPUS)
    shards = corpus.shards()
    caption = CaptionWorker(config=params.caption).load()
    embed = EmbeddingWorker(config=params.retrieve, corpus=corpus).load()
    segment = MaskingWorker(config=params.segment, corpus=corpus, seed=params.seed, size=params.ingest.size).load()
    pictures = [_task(shard, *corpus.inputs(shard)) for shard in shards]
    edits = [_task(shard, *corpus.inputs(shard), EDITS / f"{shard}.parquet") for shard in shards]
    pairs = [_task(table.stem, table) for table in list_shards(PAIRS, ".parquet")]
    clip = embed.clip.model  # type: ignore[attr-defined]
    return {
        "caption": _compare(caption, pictures, 1, [(caption.captioner.model, "generate")]),  # type: ignore[attr-defined]
        "embed": _compare(embed, edits, len((IMAGES, TEXTS, FACTS)), [(clip, "encode_image"), (clip, "encode_text")]),
        "segment": _compare(segment, pairs, 1, [(segment.segmenter.model, "forward")]),  # type: ignore[attr-defined]
    }


def _task(shard: str, *inputs: Path) -> ShardTask:
    return ShardTask(name=shard, inputs=inputs, samples=0)


def _compare(work: Work, tasks: Sequence[ShardTask], outputs: int, networks: Sequence[Network]) -> dict[str, Any]:
    """Run the work on all tasks and then its networks on the same batches, several times."""
    calls = _record(lambda: _make(work, tasks, outputs), networks)
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(IMAGES_MEASURED / _seconds(lambda: _make(work, tasks, outputs)))
        bare.append(IMAGES_MEASURED / _seconds(lambda: [method(*args, **kwargs) for method, args, kwargs in calls]))
    rates = {"stage": ours, "bare": bare}
    return {name: [round(rate, 1) for rate in values] for name, values in rates.items()} | {"ratio": ratio(ours, bare)}


def _record(run: Callable[[], object], networks: Sequence[Network]) -> Calls:
    """Run a function and return what it called the networks with."""
    calls: Calls = []
    with ExitStack() as stack:
        for model, name in networks:
            method = getattr(model, name)

            def recorded(*args: Any, _method: Callable[..., object] = method, **kwargs: Any) -> object:
                calls.append((_method, args, kwargs))
                return _method(*args, **kwargs)

            stack.enter_context(patch.object(model, name, recorded))
        run()
    return calls


def _make(work: Work, tasks: Sequence[ShardTask], outputs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            work(task, ShardFiles(outputs=tuple(Path(folder, f"{task.name}-{number}") for number in range(outputs))), _ignore)


def _ignore(_: int) -> None:
    """Take a worker's progress."""


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
