"""Nearest neighbours under the paper's query (section 3.1), with the scores that decide which of them may become targets."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from stages.common.arrays import map_arrays, read_arrays
from stages.core.params import Retrieve
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.pairing.columns import SCORES
from stages.pairing.embeddings import Vectors, images_path, single, texts_path
from stages.pairing.index import ImageIndex

SUFFIX = ".safetensors"
SEARCHED, GATHERED, SCORED = 1024, 64, 16  # edits at a time: fewer touch shards too often, more leave the cache

NEAR_DUPLICATE = "target is a near-duplicate of the source"
UNLIKE = "target too unlike the source"
NO_TEXT = "target does not show the edit prompt"
NO_GAIN = "target fits the edit prompt no better than the source"
NO_CHANGE = "change of the image does not follow the change of the text"
OBJECTIONS = (NEAR_DUPLICATE, UNLIKE, NO_TEXT, NO_GAIN, NO_CHANGE)
"""Why a candidate is refused; of several reasons the first one counts."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The possible targets of m edits, best first: those of edit e are ``targets[ends[e - 1]:ends[e]]``."""

    ends: NDArray[np.int64]  # (m,)
    targets: NDArray[np.int64]  # (c,): rows of the pool
    scores: NDArray[np.float32]  # (c, 5): SCORES
    objections: NDArray[np.int64]  # (m, 5): how many neighbours were refused for each of OBJECTIONS


@dataclass(frozen=True, kw_only=True)
class CandidateWorker:
    """Finds the candidates of a shard of edits; ``task.settings["pool"]`` names the index to search."""

    embeddings: Path  # folders
    indexes: Path
    config: Retrieve

    def load(self) -> Work:
        """Return the work; an index stays open for all shards of its pool."""
        open_index = lru_cache(maxsize=1)(lambda name: ImageIndex.open(self.indexes, name, self.embeddings))

        def work(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
            index = open_index(task.settings["pool"])
            texts = read_arrays(texts_path(self.embeddings, task.name))
            images = map_arrays(images_path(self.embeddings, task.name))["embeddings"]
            first = index.pool.first_row(task.name)
            parts = []
            for start in range(0, len(texts["sources"]), SEARCHED):
                edits = slice(start, start + SEARCHED)
                sources, captions, prompts = (texts[name][edits] for name in ("sources", "captions", "prompts"))
                found = find_candidates(
                    index,
                    first + sources,
                    single(images[sources]),
                    single(texts["embeddings"][captions]),
                    single(texts["embeddings"][prompts]),
                    self.config,
                )
                parts.append(found)
                advance(len(sources))
            save_file(dict(vars(join_candidates(parts))), files.output)
            return ShardResult(done=len(texts["sources"]))

        return work


def read_candidates(path: Path) -> Candidates:
    """Return the candidates of a shard of edits.

    Raises:
        InputError: the file is missing or damaged.
    """
    return Candidates(**read_arrays(path))


def mean_query(images: Vectors, texts: Vectors, text_weight: float) -> Vectors:
    """Return the weighted mean of image and text embeddings, row by row, at unit length.

    The paper's mean has a ``text_weight`` of 0.5. Cosines between images spread wider than those between texts and
    images, so at equal weights the source decides the result, and the nearest image seldom shows the edit.

    Args:
        images: (n, d), of any length.
        texts: (n, d), of any length.
        text_weight: in [0, 1].
    """
    return _unit((1 - text_weight) * _unit(images) + text_weight * _unit(texts))


def find_candidates(
    index: ImageIndex, rows: NDArray[np.int64], sources: Vectors, captions: Vectors, prompts: Vectors, config: Retrieve
) -> Candidates:
    """Return the neighbours of each edit that pass every threshold.

    Neighbours are the ``config.neighbours`` images, other than the source itself, that are most like the edit's query.

    Args:
        index: over the images of the pool.
        rows: the sources' rows of the pool, (m,).
        sources: embeddings of the source images, (m, d).
        captions: embeddings of the source captions, (m, d).
        prompts: embeddings of the edit prompts, (m, d).
        config: the section ``retrieve``.
    """
    queries = mean_query(sources, prompts, config.text_weight)
    found = index.search(queries, config.neighbours + 1)
    judged = []
    for first in range(0, len(rows), GATHERED):
        vectors = index.pool.gather(found[first : first + GATHERED])
        for start in range(first, min(first + GATHERED, len(rows)), SCORED):
            part = slice(start, min(start + SCORED, first + GATHERED))
            group = vectors[part.start - first : part.stop - first]
            best = nearest(queries[part], rows[part], found[part], group, config.neighbours)
            judged.append(_judge(*best, sources[part], captions[part], prompts[part], config))
    return join_candidates(judged)


def join_candidates(parts: list[Candidates]) -> Candidates:
    """Return the candidates of several groups of edits as one."""
    counts = [np.diff(part.ends, prepend=0) for part in parts]
    return Candidates(
        ends=np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]), dtype=np.int64),
        targets=np.concatenate([np.zeros(0, np.int64), *(part.targets for part in parts)]),
        scores=np.concatenate([np.zeros((0, len(SCORES)), np.float32), *(part.scores for part in parts)]),
        objections=np.concatenate([np.zeros((0, len(OBJECTIONS)), np.int64), *(part.objections for part in parts)]),
    )


def nearest(
    queries: Vectors, sources: NDArray[np.int64], rows: NDArray[np.int64], vectors: NDArray[np.float16], count: int
) -> tuple[NDArray[np.int64], Vectors, Vectors]:
    """Return the ``count`` rows most like each query, best first, their cosines with it, and their embeddings.

    Where there are fewer, cosines are -inf. Of equal ones the image that stands first in the corpus comes first.

    Args:
        queries: (m, d).
        sources: each query's own image, which is no neighbour of it, (m,).
        rows: the images to compare with each, (m, k); -1 stands for none.
        vectors: their embeddings, (m, k, d).
        count: the number of neighbours.
    """
    compared = single(vectors)
    cosines = (compared @ queries[:, :, None])[:, :, 0]
    cosines[(rows < 0) | (rows == sources[:, None])] = -np.inf
    order = np.lexsort((rows, -cosines))[:, :count]
    lines = np.arange(len(rows))[:, None]
    return rows[lines, order], cosines[lines, order], compared[lines, order]


def _judge(
    targets: NDArray[np.int64],
    cosines: Vectors,
    vectors: Vectors,
    sources: Vectors,
    captions: Vectors,
    prompts: Vectors,
    config: Retrieve,
) -> Candidates:
    """Score the neighbours (m, k) of m edits, and leave those that pass every threshold."""

    def product(each: Vectors, others: Vectors) -> NDArray[np.float32]:
        return (others @ each[:, :, None])[:, :, 0]

    image_image, text_image = product(sources, vectors), product(prompts, vectors)
    text_source = np.broadcast_to((prompts * sources).sum(axis=1, keepdims=True), image_image.shape)
    directional = product(_unit(prompts - captions), _unit(vectors - sources[:, None]))
    refused = np.stack(
        [
            image_image >= config.near_duplicate,
            image_image < config.min_image_image,
            text_image < config.min_text_image,
            (text_image <= text_source) & config.text_gain,
            directional < config.min_directional,
        ],
        axis=2,
    )
    is_neighbour = np.isfinite(cosines)
    passes = is_neighbour & ~refused.any(axis=2)
    first = refused & (np.cumsum(refused, axis=2) == 1) & is_neighbour[:, :, None]
    return Candidates(
        ends=np.cumsum(passes.sum(axis=1), dtype=np.int64),
        targets=targets[passes],
        scores=np.stack([cosines, image_image, text_image, text_source, directional], axis=2)[passes].astype(np.float32),
        objections=first.sum(axis=1, dtype=np.int64),
    )


def _unit(vectors: NDArray[Any]) -> Vectors:
    """Return vectors scaled to unit length; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
