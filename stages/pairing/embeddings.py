"""The files of CLIP embeddings in half precision, and the pools of images that edits find their targets in.

Each shard has ``NAME.images.safetensors`` and ``NAME.texts.safetensors``.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.arrays import OPEN_FILES, map_arrays
from stages.core.files import value_digest
from stages.core.sidecars import read_sidecar, sidecar_of

IMAGES, TEXTS = ".images.safetensors", ".texts.safetensors"

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
    """Return the file of a shard's images: ``keys`` (n, length), ``digests`` (n, 32) of the pixels, ``embeddings`` (n, d).

    What pairs need of the corpus is in it too: ``places`` (n, 4), offset and length in the tar, width and height; and the alt
    texts in UTF-8, of which that of image i lies between ``alt_bounds`` i and i + 1.
    """
    return folder / f"{shard}{IMAGES}"


def texts_path(folder: Path, shard: str) -> Path:
    """Return the file of the texts of a shard's m edits.

    It holds each distinct text once: ``digests`` (t, 32) of the words, ``embeddings`` (t, d). For each edit it has the row of
    its image among the shard's, ``sources`` (m,), and the rows of its texts, ``captions`` and ``prompts`` (m,).
    """
    return folder / f"{shard}{TEXTS}"


def read_keys(path: Path, rows: NDArray[np.int64]) -> list[str]:
    """Return the keys at some rows of a shard's file of images."""
    keys: NDArray[np.uint8] = map_arrays(path)["keys"]
    return [key.tobytes().rstrip(b"\0").decode() for key in keys[rows]]


def read_digests(path: Path, rows: NDArray[np.int64]) -> list[str]:
    """Return the digests of the pixels, in hexadecimal, at some rows of a shard's file of images."""
    digests: NDArray[np.uint8] = map_arrays(path)["digests"]
    return [digest.tobytes().hex() for digest in digests[rows]]


def read_alt_texts(path: Path, rows: NDArray[np.int64]) -> list[str]:
    """Return the alt texts at some rows of a shard's file of images."""
    arrays = map_arrays(path)
    starts, ends = arrays["alt_bounds"][rows].tolist(), arrays["alt_bounds"][rows + 1].tolist()
    return [arrays["alt_texts"][start:end].tobytes().decode() for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class Pool:
    """The embedded images of some shards; a row is a place among all of them, in the order of the shards."""

    folder: Path
    shards: tuple[tuple[str, int], ...]  # name and number of images

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
        return self._texts(rows, read_keys)

    def digests(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the digests of the pixels of the images at ``rows`` (n,), in hexadecimal."""
        return self._texts(rows, read_digests)

    def alt_texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the alt texts of the images at ``rows`` (n,)."""
        return self._texts(rows, read_alt_texts)

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the images at ``rows`` (n,) lie, (n, 4): offset and length in the tar, width and height."""
        found = np.empty((len(rows), 4), np.int64)
        for shard, among in self._by_shard(rows):
            places = map_arrays(images_path(self.folder, self.shards[shard][0]))["places"]
            found[among] = places[rows[among] - self.starts[shard]]
        return found

    def identity(self, rows: NDArray[np.int64]) -> str:
        """Return a digest of which images ``rows`` (n,) are, and of what their shards' files hold; it reads no image."""
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        return hashlib.sha256(self._marks[shards].tobytes() + (rows - self.starts[shards]).tobytes()).hexdigest()

    @cached_property
    def _marks(self) -> NDArray[np.uint8]:
        """A digest of the name and the file of each shard, (shards, 32)."""
        paths = [images_path(self.folder, name) for name, _ in self.shards]
        marks = [value_digest([path.name, read_sidecar(sidecar_of(path, IMAGES)).digests[0]]) for path in paths]
        return np.frombuffer(bytes.fromhex("".join(marks)), np.uint8).reshape(-1, 32)

    def _texts(self, rows: NDArray[np.int64], read: Callable[[Path, NDArray[np.int64]], list[str]]) -> list[str]:
        """Return a text for each of ``rows``; ``read`` returns those of some rows of one shard's file of images."""
        found = [""] * len(rows)
        for shard, places in self._by_shard(rows):
            texts = read(images_path(self.folder, self.shards[shard][0]), rows[places] - self.starts[shard])
            for place, text in zip(places.tolist(), texts, strict=True):
                found[place] = text
        return found

    def _by_shard(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each shard that holds some of ``rows``, and the places of these."""
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        order = np.argsort(shards, kind="stable")
        numbers, firsts = np.unique(shards[order], return_index=True)
        yield from zip(numbers.tolist(), np.split(order, firsts[1:]), strict=False)


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
