"""The training set as encoded by the frozen networks: batches by row number, read from the disk when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from stages.core.errors import InputError
from stages.core.paths import ENCODED, TRAINING_SET
from stages.core.shards import list_shards
from stages.corpus.corpus import Corpus, Location
from stages.diffusion.masks import shrink_mask
from stages.models.conditioning import Conditioning
from stages.pairing.training_set import SUFFIX, PairRow, read_pairs, target_picture
from stages.training.encoder import PAIR_SUFFIXES, TEXT_SUFFIXES
from stages.training.order import Ranks, draw_ranks
from stages.training.records import VALUE, Records, find_records, open_records, values_of
from stages.training.rows import read_masks

PROMPT = "prompt."  # how the names of a prompt's embeddings begin among the columns
LOSS_MASK_COVERAGE = 0.5  # the share of a latent cell that a mask must cover
OPEN_FILES = 256  # in each process
TABLES = 16  # of the training set, held in each process where targets are rendered

Version = tuple[int, int]  # of a file: it changes when the file is replaced


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of the training set, n samples; the dtype is float32."""

    z1: Tensor  # z₁, source latents, (n, c, h, w)
    z2: Tensor  # z₂, target latents, (n, c, h, w)
    m1: Tensor  # M₁, source mask at latent size, 0 or 1, (n, 1, h, w)
    m2: Tensor  # M₂, target mask at latent size, 0 or 1, (n, 1, h, w)
    source_mask: Tensor  # M₁ at picture size, 0 or 1, (n, 1, H, W)
    target_mask: Tensor  # M₂ at picture size, 0 or 1, (n, 1, H, W)
    target: Tensor | None  # x₂, target picture, in [0, 1], (n, 3, H, W); None where no loss needs it
    prompt: Conditioning  # y₂, the prompt, for the U-Net
    clip_prompt: Tensor  # y₂ in CLIP's space, unit length, (n, e)
    clip_diff: Tensor  # y₂ᵈⁱᶠᶠ, the words that the edit changed, in CLIP's space, unit length, (n, e)

    def select(self, rows: Tensor) -> "Batch":
        """Return the samples of some rows, by their numbers, (m,)."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "target"}
        target = None if self.target is None else self.target[rows]
        return Batch(**{name: value[rows] for name, value in columns.items()}, target=target)


Columns = dict[str, Tensor]
"""A batch as it comes from the disk, in compact types: latents and embeddings fp16, masks and pictures uint8."""


def make_batch(columns: Columns, device: torch.device) -> Batch:
    """Return a batch on the device, from what :class:`TrainingSet` reads."""
    found = {name: value.to(device, non_blocking=True).float() for name, value in columns.items()}
    size = (found["z1"].shape[-2], found["z1"].shape[-1])
    prompt = {name.removeprefix(PROMPT): value for name, value in found.items() if name.startswith(PROMPT)}
    return Batch(
        **{name: value for name, value in found.items() if name != "target" and not name.startswith(PROMPT)},
        prompt=Conditioning(**prompt),
        target=found["target"] / 255 if "target" in found else None,
        m1=shrink_mask(found["source_mask"], size, LOSS_MASK_COVERAGE),
        m2=shrink_mask(found["target_mask"], size, LOSS_MASK_COVERAGE),
    )


class TrainingSet(Dataset[Columns]):
    """The encoded pairs; rows are numbered in the order of the shards. Holds paths only, and opens files when it reads."""

    def __init__(self, cache: Path = ENCODED, folder: Path = TRAINING_SET, *, pictures: Corpus | None = None) -> None:
        """Find the shards.

        Args:
            cache: what the encoder wrote.
            folder: the training set.
            pictures: where target pictures are read; None: they are left out.
        """
        self._rows = list_shards(cache / "pairs", PAIR_SUFFIXES[0])
        self._texts, self._folder, self._pictures = cache / "texts", folder, pictures
        self._starts = np.cumsum([0, *(len(open_records(path)) for path in self._rows)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def latent_side(self) -> int:
        """The side of the latents, in cells: pictures of a training set are squares of one size."""
        return int(self[[0]]["z1"].shape[-1])

    def __getitem__(self, rows: Sequence[int]) -> Columns:
        """Return the samples of some rows."""
        samples = [self._read(row) for row in rows]
        return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}

    def ranks(self, seed: int, epoch: int) -> Ranks:
        """Return the rank of every row in a pass, see :func:`stages.training.order.draw_ranks`."""
        keys = (open_records(path)["key"].tolist() for path in self._rows)
        return np.concatenate([draw_ranks((key.decode() for key in part), seed, epoch) for part in keys])

    def _read(self, number: int) -> dict[str, Any]:
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        name = self._rows[shard].name.removesuffix(PAIR_SUFFIXES[0])
        rows, latents, masks = (_open(self._rows[shard].with_name(f"{name}{suffix}")) for suffix in PAIR_SUFFIXES[:3])
        row = rows[number - self._starts[shard]]
        prompt, diff = (digest.decode() for digest in row["texts"])
        source_mask, target_mask = read_masks(row, masks).astype(np.uint8)
        sample = {
            "z1": latents[row["latents"][0]][VALUE],
            "z2": latents[row["latents"][1]][VALUE],
            "source_mask": source_mask[None],
            "target_mask": target_mask[None],
            **{f"{PROMPT}{name}": value for name, value in _find_text(self._texts, prompt, TEXT_SUFFIXES[0]).items()},
            "clip_prompt": _find_text(self._texts, prompt, TEXT_SUFFIXES[1])[VALUE],
            "clip_diff": _find_text(self._texts, diff, TEXT_SUFFIXES[1])[VALUE],
        }
        if self._pictures is not None:
            sample["target"] = np.asarray(self._target(self._pictures, name, row, latents)).transpose(2, 0, 1)
        return sample

    def _target(self, corpus: Corpus, shard: str, row: Any, latents: Records) -> Image.Image:
        if row["target_key"]:
            (offset, length), (height, width) = row["target"].tolist(), row["size"].tolist()
            key, pixels = row["target_key"].decode(), latents[row["latents"][1]]["digest"].decode()
            location = Location(key=key, offset=offset, length=length, width=width, height=height, pixels=pixels)
            return corpus.picture(location)
        path = self._folder / f"{shard}{SUFFIX}"
        return target_picture(_read_pairs(path, _version(path))[row["number"]], corpus)


def _open(path: Path) -> Records:
    return _open_version(path, _version(path))


@lru_cache(maxsize=OPEN_FILES)
def _open_version(path: Path, version: Version) -> Records:  # noqa: ARG001 - a replaced file is another entry
    return open_records(path)


@lru_cache(maxsize=TABLES)
def _read_pairs(path: Path, version: Version) -> list[PairRow]:  # noqa: ARG001 - as above
    return read_pairs(path)


def _version(path: Path) -> Version:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_ino


def _find_text(folder: Path, digest: str, suffix: str) -> dict[str, NDArray[np.float16]]:
    """Return the embeddings of a text by their names."""
    path = folder / f"{digest[0]}{suffix}"
    records = _open(path)
    (place,), (is_there,) = find_records(records, [digest])
    if not is_there:
        raise InputError(f"{path}: lacks a text of the training set; remove {folder} to embed all texts again")
    return values_of(records[place])
