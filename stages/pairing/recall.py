"""How many of the true nearest neighbours an index finds, measured on a sample of edits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.arrays import map_arrays, read_arrays
from stages.common.seeds import derive_seed
from stages.core.files import write_json
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.pairing.embeddings import Pool, Vectors, single, texts_path
from stages.pairing.index import BLOCK, ImageIndex
from stages.pairing.neighbours import mean_query, nearest

SUFFIX = ".json"
SAMPLED = 256  # edits
RANKS = (1, 20)

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RecallWorker:
    """Measures the recall of a pool's index, and writes it with the number of edits asked."""

    embeddings: Path  # folders
    indexes: Path
    text_weight: float
    seed: int

    def load(self) -> Work:
        """Return the work; FAISS is imported when there is some."""
        return self._measure

    def _measure(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:  # noqa: ARG002
        index = ImageIndex.open(self.indexes, task.name, self.embeddings)
        sources, _, prompts = sample_edits(index.pool, SAMPLED, derive_seed(self.seed, "recall", task.name))
        queries = mean_query(single(index.pool.gather(sources)), prompts, self.text_weight)
        shares = measure_recall(index, queries, sources)
        write_json(files.output, {"edits": len(sources)} | {f"recall at {rank}": share for rank, share in shares.items()})
        return ShardResult(done=len(sources))


def sample_edits(pool: Pool, count: int, seed: int) -> tuple[Rows, Vectors, Vectors]:
    """Return up to ``count`` of a pool's edits: the rows of their sources, the embeddings of their captions and prompts."""
    sizes = [len(map_arrays(texts_path(pool.folder, shard))["sources"]) for shard, _ in pool.shards]
    ends = np.cumsum(sizes, dtype=np.int64)
    total = int(ends[-1])
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    none = np.zeros((0, pool.width), np.float32)
    rows, captions, prompts = [np.zeros(0, np.int64)], [none], [none]
    for number, (shard, _) in enumerate(pool.shards):
        first = ends[number] - sizes[number]
        edits = drawn[(first <= drawn) & (drawn < ends[number])] - first
        if not len(edits):
            continue
        texts = read_arrays(texts_path(pool.folder, shard))
        rows.append(pool.starts[number] + texts["sources"][edits])
        for found, name in ((captions, "captions"), (prompts, "prompts")):
            found.append(single(texts["embeddings"][texts[name][edits]]))
    return np.concatenate(rows), np.concatenate(captions), np.concatenate(prompts)


def exact_neighbours(pool: Pool, queries: Vectors, count: int) -> Rows:
    """Return the rows of the nearest images to each query, best first, by comparing it with all: (n, count)."""
    from faiss import METRIC_INNER_PRODUCT
    from faiss.contrib.exhaustive_search import knn_ground_truth

    rows: Rows = knn_ground_truth(queries, pool.blocks(BLOCK), count, METRIC_INNER_PRODUCT, ngpu=0)[1]
    return rows


def measure_recall(index: ImageIndex, queries: Vectors, sources: Rows) -> dict[int, float]:
    """Return for each rank r of RANKS the mean share of the true first r neighbours that are among the first r found.

    Args:
        index: the index to measure.
        queries: (n, d).
        sources: each query's own image, which is no neighbour of it.
    """
    others = len(index.pool) - 1
    if not len(queries) or not others:
        return dict.fromkeys(RANKS, 1.0)
    most = max(RANKS)
    rows = index.search(queries, most + 1)
    found, cosines, _ = nearest(queries, sources, rows, index.pool.gather(rows), most)
    found = np.where(np.isfinite(cosines), found, -1)
    shares: dict[int, list[float]] = {rank: [] for rank in RANKS}
    for source, true, got in zip(sources, exact_neighbours(index.pool, queries, min(most, others) + 1), found, strict=True):
        wanted = true[true != source]
        for rank in RANKS:
            first = wanted[: min(rank, others)]
            shares[rank].append(len(np.intersect1d(first, got[:rank])) / len(first))
    return {rank: float(np.mean(each)) for rank, each in shares.items()}
