"""The training set as encoded by the frozen networks, once, and read row by row from memory-mapped shards."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from stages.common.seeds import derive_seed
from stages.core.params import Train
from stages.core.provenance import source_digest
from stages.core.shards import (
    SERIAL,
    Advance,
    InProcess,
    ShardFiles,
    ShardResult,
    ShardTask,
    StageCounts,
    count_samples,
    list_shards,
    map_shards,
)
from stages.corpus.corpus import Corpus
from stages.corpus.samples import EditSample
from stages.diffusion.masks import shrink_mask
from stages.models.clip import Clip
from stages.models.hub import identity
from stages.models.latent_diffusion import Diffusion
from stages.models.tensors import device, mask_to_tensor, to_tensor
from stages.pairing.training_set import SUFFIX, edit_sample, read_pairs

LOSS_MASK_COVERAGE = 0.5  # the share of a latent cell that a mask must cover


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of the training set, n samples."""

    z1: Tensor  # z₁, source latents, (n, c, h, w)
    z2: Tensor  # z₂, target latents, (n, c, h, w)
    m1: Tensor  # M₁, source mask at latent size, 0 or 1, (n, 1, h, w)
    m2: Tensor  # M₂, target mask at latent size, 0 or 1, (n, 1, h, w)
    source_mask: Tensor  # M₁ at picture size, 0 or 1, (n, 1, H, W)
    target_mask: Tensor  # M₂ at picture size, 0 or 1, (n, 1, H, W)
    target: Tensor  # x₂, target picture, in [0, 1], (n, 3, H, W)
    text: Tensor  # y₂, the prompt, for the U-Net, (n, context, d)
    clip_prompt: Tensor  # y₂ in CLIP's space, unit length, (n, e)
    clip_diff: Tensor  # y₂ᵈⁱᶠᶠ, the words that the edit changed, in CLIP's space, unit length, (n, e)


FIELD_NAMES = tuple(field.name for field in fields(Batch))


def encode_training_set(
    folder: Path, cache: Path, config: Train, diffusion: Diffusion, clip: Clip, corpus: Corpus | None = None
) -> StageCounts:
    """Encode every shard of the training set; shards that were encoded before are kept.

    Args:
        folder: the training set, tables of pairs.
        cache: where the encoded shards go.
        config: the section ``train``.
        diffusion: the base model, which encodes pictures and prompts.
        clip: encodes prompts and differences.
        corpus: holds the pictures; None: the project's.
    """
    pictures = corpus or Corpus()
    shards = list_shards(folder, SUFFIX)
    tasks = [ShardTask(name=path.stem, inputs=(path,), samples=count_samples(path, SUFFIX)) for path in shards]

    def work(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        edits = [edit_sample(row, pictures) for row in read_pairs(task.inputs[0])]
        parts = []
        for start in range(0, len(edits), config.batch):
            part = edits[start : start + config.batch]
            parts.append(_encode(part, config, diffusion, clip))
            advance(len(part))
        tensors = {name: torch.cat([part[name] for part in parts]).contiguous() for name in FIELD_NAMES} if parts else {}
        save_file(tensors, files.output)
        return ShardResult(done=len(edits))

    settings = {
        "base": identity(config.base),
        "clip": identity(config.clip),
        "prompts": config.prompts,
        "batch": config.batch,
        "code": source_digest(__file__),
    }
    return map_shards(
        stage="encode",
        tasks=tasks,
        folder=cache,
        suffixes=(".safetensors",),
        settings=settings,
        worker=InProcess(work),
        execution=SERIAL,
    )


def _encode(part: list[EditSample], config: Train, diffusion: Diffusion, clip: Clip) -> dict[str, Tensor]:
    prompts = [sample.edit_prompt if config.prompts == "edit" else sample.target_alt_text for sample in part]
    target = to_tensor([sample.target for sample in part])
    source_mask = mask_to_tensor([sample.source_mask for sample in part])
    target_mask = mask_to_tensor([sample.target_mask for sample in part])
    z1 = diffusion.encode(to_tensor([sample.source for sample in part]))
    size = (z1.shape[-2], z1.shape[-1])
    encoded = {
        "z1": z1,
        "z2": diffusion.encode(target),
        "m1": shrink_mask(source_mask, size, LOSS_MASK_COVERAGE).to(torch.uint8),
        "m2": shrink_mask(target_mask, size, LOSS_MASK_COVERAGE).to(torch.uint8),
        "source_mask": source_mask.round().to(torch.uint8),
        "target_mask": target_mask.round().to(torch.uint8),
        "target": (target * 255).round().to(torch.uint8),
        "text": diffusion.embed_prompts(prompts),
        "clip_prompt": clip.embed_texts(prompts),
        "clip_diff": clip.embed_texts([sample.target_diff for sample in part]),
    }
    return {name: value.cpu() for name, value in encoded.items()}


class TrainingSet:
    """The encoded samples; rows are numbered in the order of the shards."""

    def __init__(self, cache: Path) -> None:
        shards = list_shards(cache, ".safetensors")
        counts = [count_samples(path, ".safetensors") for path in shards]
        self._rows = [(shard, row) for shard, count in enumerate(counts) for row in range(count)]
        self._files = [safe_open(path, framework="pt") for path in shards]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: list[int]) -> Batch:
        """Return a batch of some rows, on the device."""
        columns = {name: torch.cat([self._read(row, name) for row in rows]).to(device()) for name in FIELD_NAMES}
        columns["target"] = columns["target"] / 255
        for name in ("m1", "m2", "source_mask", "target_mask"):
            columns[name] = columns[name].float()
        return Batch(**columns)

    def _read(self, row: int, name: str) -> Tensor:
        shard, place = self._rows[row]
        return self._files[shard].get_slice(name)[place : place + 1]


def order(count: int, seed: int, first: int) -> Iterator[int]:
    """Yield row numbers without end, pass after pass, each in a random order of its own.

    Args:
        count: the number of rows.
        seed: the seed of the training.
        first: the number of the draw to begin with; draw k is the same row wherever one begins.
    """
    epoch, place = divmod(first, count)
    while True:
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        yield from torch.randperm(count, generator=generator).tolist()[place:]
        epoch, place = epoch + 1, 0
