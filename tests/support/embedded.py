"""Embeddings in the files that the stage retrieve reads, of vectors that a test draws."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stages.core.files import write_json
from stages.pairing.embeddings import Pool, images_path
from stages.pairing.index import ImageIndex, build_index, write_index


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write_pool(folder: Path, pictures: np.ndarray, sizes: Sequence[int] = (), name: str = "{:05d}") -> Pool:
    """Write unit vectors (n, d) as the embeddings of shards of these sizes; without sizes, as one shard."""
    folder.mkdir(parents=True, exist_ok=True)
    shards, start = [], 0
    for number, size in enumerate(sizes or (len(pictures),)):
        shard, part = name.format(number), pictures[start : start + size].astype(np.float16)
        keys = np.array([list(f"{shard}{place:04d}".encode()) for place in range(size)], np.uint8).reshape(size, len(shard) + 4)
        save_file({"keys": keys, "embeddings": part}, images_path(folder, shard))
        shards.append((shard, size))
        start += size
    return Pool(folder, tuple(shards))


def write_index_of(pool: Pool, folder: Path, factory: str, memory: float = 1.0) -> ImageIndex:
    """Build an index of a pool, write it, and open it as a search does."""
    folder.mkdir(parents=True, exist_ok=True)
    write_index(build_index(pool, factory, memory=memory, seed=0), folder / "pool.faiss")
    shards = [[shard, size, ""] for shard, size in pool.shards]
    write_json(folder / "pool.shards.json", {"index": factory, "shards": shards})
    return ImageIndex.open(folder, "pool", pool.folder)
