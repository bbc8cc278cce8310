"""The files of CLIP embeddings in half precision, and the pools of images that edits find their targets in.

Each shard has ``NAME.images.safetensors``, ``NAME.texts.safetensors``, and ``NAME.facts.safetensors`` with what else pairs hold
of its images. An index is built over the images alone, so no fact that changes rebuilds it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.common.arrays import OPEN_FILES, map_arrays

IMAGES, TEXTS, FACTS = ".images.safetensors", ".texts.safetensors", ".facts.safetensors"

Item = TypeVar("Item")
Vectors = NDArray[np.float32]  # (n, d)

_REBIAS = np.float32(2.0**112)  # 2 to the difference of the exponents' biases, 127 and 15


def single(halves: NDArray[np.float16]) -> Vectors:
    """Return finite half-precision numbers in single precision, three times as fast as NumPy's conversion.

    Sign, exponent and fraction are moved to their places by integer operations, which NumPy vectorises.
    """
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= ~np.int32(0x70000000)  # the sign's copies
    numbers = bits.view(np.float32)
    numbers *= _REBIAS
    return numbers


def images_path(folder: Path, shard: str) -> Path:
    """Return the file of a shard's images: ``keys`` (n, length), ``digests`` (n, 32) of the pixels, ``embeddings`` (n, d)."""
    return folder / f"{shard}{IMAGES}"


def texts_path(folder: Path, shard: str) -> Path:
    """Return the file of the texts of a shard's m edits.

    It holds each distinct text once: ``digests`` (t, 32) of the words, ``embeddings`` (t, d). For each edit it has the row of
    its image among the shard's, ``sources`` (m,), and the rows of its texts, ``captions`` and ``prompts`` (m,).
    """
    return folder / f"{shard}{TEXTS}"


def facts_path(folder: Path, shard: str) -> Path:
    """Return the file of what else the corpus holds of a shard's images, and pairs with it.

    That is ``places`` (n, 4): offset and length in the tar, width and height; and the alt texts in UTF-8, of which that of
    image i lies between ``alt_bounds`` i and i + 1. ``marks`` (n,) has 64 bits of a digest of all this and of key and pixels.
    """
    return folder / f"{shard}{FACTS}"


def read_keys(path: Path, rows: NDArray[np.int64]) -> list[str]:
    """Return the keys at some rows of a shard's file of images."""
    keys: NDArray[np.uint8] = map_arrays(path)["keys"]
    return [key.tobytes().rstrip(b"\0").decode() for key in keys[rows]]


def read_digests(path: Path, rows: NDArray[np.int64]) -> list[str]:
    """Return the digests of the pixels, in hexadecimal, at some rows of a shard's file of images."""
    digests: NDArray[np.uint8] = map_arrays(path)["digests"]
    return [digest.tobytes().hex() for digest in digests[rows]]


class Facts(NamedTuple):
    """What pairs hold of one image."""

    key: str
    pixels: str  # digest, in hexadecimal
    alt_text: str
    offset: int  # in the tar, bytes
    length: int
    width: int  # pixels
    height: int


@dataclass(frozen=True)
class Pool:
    """The embedded images of some shards; a row is a place among all of them, in the order of the shards."""

    folder: Path
    shards: tuple[tuple[str, int], ...]  # name and number of images

    def __reduce__(self) -> tuple[type["Pool"], tuple[Path, tuple[tuple[str, int], ...]]]:
        """Pickle the fields alone: what was read and is kept stays in its process."""
        return Pool, (self.folder, self.shards)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The first row of each shard, and behind the last one the number of rows."""
        return np.cumsum([0, *(count for _, count in self.shards)], dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.starts[-1])

    @property
    def width(self) -> int:
        """The length d of an embedding."""
        return int(self.halves(0).shape[1])

    def first_row(self, shard: str) -> int:
        """Return the row of a shard's first image."""
        return int(self.starts[self._numbers[shard]])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, (name, _) in enumerate(self.shards)}

    @cached_property
    def halves(self) -> Callable[[int], NDArray[np.float16]]:
        """A function of a shard's number that returns its embeddings, mapped: (n, d)."""

        def read(shard: int) -> NDArray[np.float16]:
            embeddings: NDArray[np.float16] = map_arrays(images_path(self.folder, self.shards[shard][0]))["embeddings"]
            return embeddings

        return lru_cache(maxsize=OPEN_FILES)(read)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the embeddings at ``rows``, of any shape: (…, d). Many rows at a time visit each shard but once.

        A row of -1 gives some embedding or other.
        """
        flat = np.maximum(rows.ravel(), 0)
        found = np.empty((len(flat), self.width), np.float16)
        for shard, places in self._by_shard(flat):
            found[places] = self.halves(shard)[flat[places] - self.starts[shard]]
        return found.reshape(*rows.shape, self.width)

    def blocks(self, size: int) -> Iterator[Vectors]:
        """Yield all embeddings in order, at most ``size`` at a time."""
        for shard in range(len(self.shards)):
            halves = self.halves(shard)
            for start in range(0, len(halves), size):
                yield single(halves[start : start + size])

    def keys(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the keys of the images at ``rows`` (n,)."""
        return self._collect(rows, lambda shard, part: read_keys(images_path(self.folder, shard), part))

    def digests(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the digests of the pixels of the images at ``rows`` (n,), in hexadecimal."""
        return self._collect(rows, lambda shard, part: read_digests(images_path(self.folder, shard), part))

    def facts(self, rows: NDArray[np.int64]) -> list[Facts]:
        """Return what pairs hold of the images at ``rows`` (n,); each shard is visited once."""
        return self._collect(rows, partial(_read_facts, self.folder))

    def identity(self, rows: NDArray[np.int64]) -> str:
        """Return a digest of what :meth:`facts` returns, without reading it."""
        return hashlib.sha256(self._marks[rows].tobytes()).hexdigest()

    @cached_property
    def _marks(self) -> NDArray[np.int64]:
        """The marks of all images, see :func:`facts_path`."""
        parts = [map_arrays(facts_path(self.folder, name))["marks"] for name, _ in self.shards]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def _collect(self, rows: NDArray[np.int64], read: Callable[[str, NDArray[np.int64]], Iterable[Item]]) -> list[Item]:
        """Return an item for each of ``rows`` (n,); ``read`` takes a shard's name and some of its rows."""
        found: dict[int, Item] = {}
        for shard, places in self._by_shard(rows):
            found.update(zip(places.tolist(), read(self.shards[shard][0], rows[places] - self.starts[shard]), strict=True))
        return [found[place] for place in range(len(rows))]

    def _by_shard(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each shard that holds some of ``rows``, and the places of these."""
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        order = np.argsort(shards, kind="stable")
        numbers, firsts = np.unique(shards[order], return_index=True)
        yield from zip(numbers.tolist(), np.split(order, firsts[1:]), strict=False)


def _read_facts(folder: Path, shard: str, rows: NDArray[np.int64]) -> Iterator[Facts]:
    """Yield what pairs hold of the images at some rows of a shard."""
    images, facts = images_path(folder, shard), map_arrays(facts_path(folder, shard))
    bounds = np.stack([facts["alt_bounds"][rows], facts["alt_bounds"][rows + 1]], axis=1).tolist()
    alt_texts = (facts["alt_texts"][start:end].tobytes().decode() for start, end in bounds)
    keys, pixels, places = read_keys(images, rows), read_digests(images, rows), facts["places"][rows].tolist()
    for key, digest, alt_text, place in zip(keys, pixels, alt_texts, places, strict=True):
        yield Facts(key, digest, alt_text, *place)


def divide(shards: Sequence[str], pool_shards: int | None) -> list[tuple[str, ...]]:
    """Divide shards into pools of about ``pool_shards`` in their order; None: all in one.

    A pool ends at a shard whose name says so, at the earliest when it has half of the number, and at the latest at twice
    the number. So a shard that comes or goes changes the pools beside it, and not all that follow.
    """
    pools: list[tuple[str, ...]] = []
    pool: list[str] = []
    for shard in shards:
        pool.append(shard)
        if pool_shards is not None:
            ends = int(hashlib.sha256(shard.encode()).hexdigest(), 16) % pool_shards == 0 and 2 * len(pool) >= pool_shards
            if ends or len(pool) >= 2 * pool_shards:
                pools.append(tuple(pool))
                pool = []
    return [*pools, *([tuple(pool)] if pool else [])]
