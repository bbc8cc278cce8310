"""How close training and its encoder come to the bare networks: samples a second of the stage and of its networks alone.

Both functions work on the training set below the working directory. The stage and its networks take turns, so that other load
on the machine slows both.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from stages.core.params import Params, Train
from stages.core.paths import TRAINING_SET
from stages.core.shards import ShardFiles, ShardTask, count_samples, list_shards
from stages.corpus.corpus import Corpus
from stages.diffusion.losses import active_terms
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion, load_picture_encoder
from stages.models.tensors import to_tensor
from stages.models.vgg import load_vgg
from stages.pairing.training_set import SUFFIX
from stages.training.dataset import Columns, TrainingSet
from stages.training.encoder import PAIR_SUFFIXES, PICTURES, PairWorker, encode_training_set
from stages.training.iedit import IEdit
from stages.training.loop import fine_tune
from stages.training.order import Ranks, draw_order
from stages.training.workplace import StepLog, Workplace

ROUNDS = 5
STEPS, EVERY = 20, 4  # training steps of a round, and steps between two readings of its losses; time counts from the first


class Preloaded(TrainingSet):
    """The batches of a training, held in memory: reading one costs nothing."""

    def __init__(self, data: TrainingSet, config: Train) -> None:
        """Read every batch that the training draws."""
        self._data = data
        order = draw_order(len(data), partial(data.ranks, config.seed), 0)
        draws = [tuple(islice(order, config.batch)) for _ in range(config.steps * config.accumulation)]
        self._batches = {rows: data[rows] for rows in draws}

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, rows: Sequence[int]) -> Columns:
        """Return a batch that was read before."""
        return self._batches[tuple(rows)]

    def ranks(self, seed: int, epoch: int) -> Ranks:
        """Return the ranks of the rows on disk."""
        return self._data.ranks(seed, epoch)


def measure_samples(params: Params) -> dict[str, Any]:
    """Return samples a second of iEdit's training, and of the same steps on batches that are in memory.

    Without a GPU a second is one of processor time, and the training reads its batches itself, so that reading is counted.
    """
    changes: dict[str, Any] = {"steps": STEPS, "log_every": EVERY, "checkpoint_every": STEPS}
    if not torch.cuda.is_available():
        changes["loader_workers"] = 0
    config = params.train.model_copy(update=changes)
    encode_training_set(config, STEPS * config.batch * config.accumulation, params.execution)
    needs_target = any(term.needs_target for term in active_terms(config.losses))
    data = TrainingSet(pictures=Corpus() if needs_target else None)
    preloaded, alone = Preloaded(data, config), config.model_copy(update={"loader_workers": 0})
    diffusion, clip, vgg = load_diffusion(config.base), load_clip(config.clip), load_vgg(config.vgg)
    method = IEdit(diffusion, clip, vgg, config.losses, config.unconditional)
    stage, bare = [], []
    for _ in range(ROUNDS):
        stage.append(_samples_per_second(method, data, config))
        bare.append(_samples_per_second(method, preloaded, alone))
    return _compared(stage, bare)


def measure_encoder(params: Params) -> dict[str, Any]:
    """Return pictures a second of the encoder on the largest shard, and of the bare autoencoder on pictures in memory.

    Without a GPU a second is one of processor time.
    """
    shard = max(list_shards(TRAINING_SET, SUFFIX), key=lambda path: count_samples(path, SUFFIX))
    count = count_samples(shard, SUFFIX)
    settings = {"drawn": count, "seed": params.train.seed, "prompts": params.train.prompts}
    task = ShardTask(name=shard.stem, inputs=(shard,), samples=2 * count, settings=settings)
    work, encoder = PairWorker(base=params.train.base, corpus=Corpus()).load(), load_picture_encoder(params.train.base)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in every worker
    stage, bare = [], []
    try:
        for _ in range(ROUNDS):
            encoded: list[int] = []
            with tempfile.TemporaryDirectory() as folder:
                files = ShardFiles(outputs=tuple(Path(folder, f"shard{suffix}") for suffix in PAIR_SUFFIXES))
                start = _seconds()
                work(task, files, encoded.append)
                stage.append(sum(encoded) / (_seconds() - start))
            batch = to_tensor([Corpus().image(row.key) for row in Corpus().rows(Corpus().shards()[0])[:PICTURES]])
            start = _seconds()
            for _ in encoded:
                encoder.encode(batch)
            bare.append(sum(encoded) / (_seconds() - start))
    finally:
        torch.set_num_threads(threads)
    return _compared(stage, bare)


def _samples_per_second(method: IEdit, data: TrainingSet, config: Train) -> float:
    """Return the speed of a training after its first steps."""
    marks: dict[int, float] = {}

    def on_step(step: int, _: StepLog) -> None:
        marks.setdefault(step // EVERY, _seconds())

    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(folder=Path(folder), fingerprint="measured")
        fine_tune(method, data, config, workplace, on_step=on_step, on_checkpoint=lambda *_: None)
    first, *_, last = marks.values()
    return (STEPS - EVERY) * config.batch * config.accumulation / (last - first)


def _seconds() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def _compared(stage: Sequence[float], bare: Sequence[float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(stage, bare, strict=True)]
    return {
        "stage": [round(speed, 2) for speed in stage],
        "bare": [round(speed, 2) for speed in bare],
        "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
    }
