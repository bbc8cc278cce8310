"""Trainings on tiny models: an encoded training set of five samples, and what tests compare."""

import copy
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from stages.core.params import ModelName, Params, Train
from stages.core.shards import SERIAL, ShardFiles, ShardResult, ShardTask, StageCounts, Work
from stages.corpus.corpus import Corpus, CorpusRow
from stages.corpus.samples import EditSample
from stages.corpus.shard import key_of, pixel_digest
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion
from stages.models.tensors import device
from stages.models.vgg import load_vgg
from stages.pairing.columns import SCORES
from stages.pairing.training_set import PairRow, pack_mask, write_pairs
from stages.tracking import store
from stages.training.dataset import Batch, TrainingSet, make_batch
from stages.training.encoder import PairWorker, encode_training_set
from stages.training.iedit import IEdit
from stages.training.loop import fine_tune
from stages.training.workplace import Workplace
from tests.support import ROOT, tiny
from tests.support.corpora import located, write_corpus_of
from tests.support.shards import map_in_process

PAIRS = 8  # in the corpus
STEPS, EVERY = 7, 3  # steps of a training, and steps between its checkpoints
TRAINED = ("conv_in.", "down_blocks.", "mid_block.")  # the parts of the U-Net that iEdit trains


def edit_sample(number: int) -> EditSample:
    rng = np.random.default_rng(number)
    source_mask, target_mask = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    source_mask[3:21, 2 : 13 + number] = 255
    target_mask[5 : 18 + number, 7:25] = 255
    return EditSample(
        key=f"{number:09d}",
        source=Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)),
        target=Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)),
        source_mask=Image.fromarray(source_mask),
        target_mask=Image.fromarray(target_mask),
        source_caption=f"a cat {number}",
        edit_prompt=f"a dog {number}",
        source_diff="cat",
        target_diff=f"dog {number}",
        target_alt_text=f"IMG {number}",
        metadata={"relation": "co-hyponym"},
    )


def write_pictures(folder: Path) -> Corpus:
    """Write a corpus with source and target of the first PAIRS edit samples, in one shard."""
    edits = [edit_sample(number) for number in range(PAIRS)]
    write_corpus_of(folder, {"pictures": [picture for edit in edits for picture in (edit.source, edit.target)]})
    return Corpus(folder)


def picture_key(place: int) -> str:
    """Return the key of a picture of :func:`write_pictures`: the source of pair n is at 2n, its target at 2n + 1."""
    return key_of("pictures", place)


@cache
def _pictures() -> list[CorpusRow]:
    """Return the rows of the corpus of :func:`write_pictures`."""
    with TemporaryDirectory() as folder:
        return write_pictures(Path(folder)).rows("pictures")


def pair_row(number: int, target: int | None = None) -> PairRow:
    """Return the row of an edit sample in the training set, by default with its own target; its pictures have no places yet."""
    sample, target = edit_sample(number), number if target is None else target
    masks = [np.asarray(mask) > 0 for mask in (sample.source_mask, sample.target_mask)]
    scores = dict.fromkeys(SCORES, 0.5)
    return PairRow(
        key=picture_key(2 * number),
        target_key=picture_key(2 * target + 1),
        caption=sample.source_caption,
        edit_prompt=sample.edit_prompt,
        source_term="cat",
        target_term="dog",
        relation="co-hyponym",
        source_diff=sample.source_diff,
        target_diff=sample.target_diff,
        **scores,
        target_alt_text=sample.target_alt_text,
        source_pixels=pixel_digest(sample.source),
        target_pixels=pixel_digest(edit_sample(target).target),
        width=32,
        height=32,
        source_offset=0,
        source_length=0,
        target_offset=0,
        target_length=0,
        packed_source_mask=pack_mask(masks[0]),
        packed_target_mask=pack_mask(masks[1]),
        source_mask_area=float(masks[0].mean()),
        target_mask_area=float(masks[1].mean()),
        target_png=b"",
    )


def write_training_set(folder: Path, shards: Mapping[str, Sequence[int | PairRow]]) -> None:
    """Write shards of pairs, by their numbers or as rows, as the stage segment writes them.

    Pictures without a place have that of :func:`write_pictures`.
    """

    def work(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        rows = [pair_row(pair) if isinstance(pair, int) else pair for pair in shards[task.name]]
        placed = [row if row.source_length else located(row, _pictures()) for row in rows]
        return ShardResult(done=len(rows), notes=[write_pairs(files.output, placed)])

    tasks = [ShardTask(name=name, inputs=(), samples=0, settings={"pairs": repr(pairs)}) for name, pairs in shards.items()]
    map_in_process(work, tasks, folder, ".parquet")


def params_for(folder: Path, **changes) -> Params:
    """The project's params.yaml with the tiny models below ``folder``; ``changes`` go into the section ``train``."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, key, name in (
        ("train", "base", "base"),
        ("train", "clip", "clip"),
        ("train", "vgg", "vgg"),
        ("evaluate", "segmenter", "segmenter"),
    ):
        values[section][key] = {"name": str(folder / name)}
    losses = {
        "noise": "mask",
        "global_clip": True,
        "local_clip": True,
        "perceptual": True,
        "perceptual_weight": 0.1,
        "perceptual_layers": [3, 8],
    }
    values["train"]["losses"] |= losses
    values["train"] |= {
        "steps": STEPS,
        "batch": 2,
        "accumulation": 1,
        "learning_rate": 1e-3,
        "weight_decay": 0.5,
        "warm_up": 2,
        "max_gradient_norm": 0.05,
        "ema_decay": 0.5,
        "unconditional": 0.2,
        "log_every": 1,
        "checkpoint_every": EVERY,
        "keep_checkpoints": 2,
        "loader_workers": 0,
    } | changes
    values["execution"]["engine"] = "serial"
    values["sampling"]["steps"] = 2
    return Params.model_validate(values)


def make_tools(folder: Path, make_base: Callable[[Path], ModelName] = tiny.tiny_diffusion) -> SimpleNamespace:
    """Return the tiny models, loaded and on disk, and an encoded training set of five samples in two shards."""
    base = make_base(folder / "base")
    clip, vgg = tiny.tiny_clip(folder / "clip"), tiny.tiny_vgg(folder / "vgg")
    tiny.tiny_segmenter(folder / "segmenter")
    write_training_set(folder / "training", {"00000": [0, 1, 2], "00001": [], "00002": [3, 4]})
    tools = SimpleNamespace(
        folder=folder,
        diffusion=load_diffusion(base),
        clip=load_clip(clip),
        vgg=load_vgg(vgg),
        corpus=write_pictures(folder / "corpus"),
    )
    encode(tools, params_for(folder).train, folder / "cache")
    tools.data = TrainingSet(folder / "cache", folder / "training", pictures=tools.corpus)
    return tools


def encode(
    tools: SimpleNamespace, config: Train, cache: Path, folder: Path | None = None, draws: int = 1000, execution=SERIAL
) -> StageCounts:
    """Encode the training set of ``folder``, by default that of the tools, into ``cache``."""
    folder = folder or tools.folder / "training"
    return encode_training_set(config, draws, execution, folder=folder, corpus=tools.corpus, cache=cache)


class DyingPairWorker(PairWorker):
    """Kills its process in the middle of each shard, once; a file beside the shards' folder remembers it."""

    def load(self) -> Work:
        work = super().load()

        def make(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
            died = files.output.parents[2] / f"died-{task.name}"

            def die(samples: int) -> None:
                if not died.exists():
                    died.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                advance(samples)

            return work(task, files, die)

        return make


def read(data: TrainingSet, rows: Sequence[int]) -> Batch:
    """Return a batch of some rows."""
    return make_batch(data[rows], device())


def values_of(batch: Batch) -> dict[str, Tensor]:
    """Return the tensors of a batch by name, those of its prompts among them."""
    return {name: value for name, value in vars(batch).items() if name != "prompt"} | batch.prompt.columns()


def make_method(tools: SimpleNamespace, config: Train) -> IEdit:
    """Return iEdit on a fresh copy of the base's U-Net."""
    diffusion = replace(tools.diffusion, unet=copy.deepcopy(tools.diffusion.unet))
    return IEdit(
        diffusion,
        tools.clip,
        tools.vgg,
        config.losses,
        config.unconditional,
        config.parameters,
        lora_rank=config.lora_rank,
        seed=config.seed,
    )


def tune(
    tools: SimpleNamespace,
    workplace: Workplace,
    *,
    on_step: Callable[..., object] = lambda *_: None,
    on_checkpoint: Callable[..., object] = lambda *_: None,
    wrap: Callable[[IEdit], Any] = lambda method: method,
    **changes: Any,
) -> dict[str, Tensor]:
    """Fine-tune a fresh copy of the base by iEdit and return its weights; ``on_step`` gets the U-Net too."""
    config = params_for(tools.folder, **changes).train
    method = make_method(tools, config)
    fine_tune(
        wrap(method),
        tools.data,
        config,
        workplace,
        on_step=lambda step, log: on_step(step, log, method.unet),
        on_checkpoint=on_checkpoint,
    )
    return method.unet.state_dict()


def place(folder: Path, name: str = "a", stage: str = "train") -> Workplace:
    """Return a workplace below ``folder``."""
    return Workplace(folder=folder / name, stage=stage, fingerprint="0123456789abcdef0123")


def interrupt_at(last: int, error: type[BaseException] = KeyboardInterrupt) -> Callable[..., None]:
    """Return an ``on_step`` or ``on_checkpoint`` that raises at a step."""

    def stop(step: int, *_: object) -> None:
        if step == last:
            raise error

    return stop


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Assert that both have the same tensors, bit for bit."""
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the norm of the difference of all weights."""
    return math.sqrt(sum(float((one[name] - other[name]).double().square().sum()) for name in one))


def logs(workplace: Workplace) -> list[dict[str, Any]]:
    """Return the logged losses, one entry per step."""
    return [json.loads(line) for line in workplace.losses.read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def times_of(folder: Path) -> dict[Path, int]:
    """Return when every file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@contextmanager
def ran_once(
    run: Callable[[Params], None], tools: SimpleNamespace, folder: Path, store_file: Path, **changes: Any
) -> Iterator[SimpleNamespace]:
    """Run a stage that trains in a folder, and stay there: yield its files, and the params; ``changes`` are to ``train``."""
    for name in ("training", "corpus"):
        shutil.copytree(tools.folder / name, folder / "data" / name)
    shutil.copy(store_file, folder)
    params = params_for(tools.folder, **{"steps": 3, "checkpoint_every": 2} | changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run(params)
        yield SimpleNamespace(folder=folder, params=params, files=files_of(folder / "models"))


def runs() -> list[Any]:
    """Return the runs in MLflow, the oldest first."""
    client = store.connect()
    return list(client.search_runs([store.experiment_id(client)], order_by=["start_time ASC"]))


def check_resumed(tools, uninterrupted, workplace: Workplace, done: int) -> None:
    """Resume after ``done`` steps, and assert that the weights, losses and checkpoints are those of the uninterrupted one."""
    final, straight = uninterrupted
    steps = []
    found = tune(tools, workplace, on_step=lambda step, log, unet: steps.append(step))
    assert steps == list(range(done, STEPS))
    assert_same(found, final)
    assert workplace.losses.read_bytes() == straight.losses.read_bytes()
    for path in straight.checkpoints():
        assert (workplace.folder / path.name).read_bytes() == path.read_bytes()
