"""Possible targets of a sample of edits with their scores, whatever the thresholds: what these keep, and what they drop."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.seeds import derive_seed
from stages.core.params import Retrieve
from stages.core.shards import list_shards
from stages.pairing.columns import SCORES
from stages.pairing.embeddings import single
from stages.pairing.index import INDEX, ImageIndex
from stages.pairing.neighbours import find_candidates, join_candidates
from stages.pairing.recall import sample_edits

MOST_POOLS, MOST_EDITS = 16, 2048
OFF = {
    "near_duplicate": math.inf,
    **dict.fromkeys(("min_image_image", "min_text_image", "min_directional"), -math.inf),
    "text_gain": False,
}
"""The thresholds of ``retrieve``, so that every neighbour passes."""


@dataclass(frozen=True, kw_only=True)
class PossibleTargets:
    """The c nearest neighbours of m edits."""

    edits: int  # m
    edit_of: NDArray[np.int64]  # (c,): 0 … m - 1
    scores: dict[str, NDArray[np.float32]]  # SCORES, (c,) each


def sample_targets(embeddings: Path, indexes: Path, config: Retrieve, seed: int) -> PossibleTargets:
    """Return the ``config.neighbours`` images nearest to each of up to MOST_EDITS edits, drawn from pools at equal distances.

    Args:
        embeddings: the folder that retrieve embedded into.
        indexes: the folder of its indexes.
        config: the section ``retrieve``; thresholds in it are ignored.
        seed: decides which edits are drawn.

    Raises:
        InputError: there is no index.
    """
    names = [path.name.removesuffix(INDEX) for path in list_shards(indexes, INDEX)]
    names = names[:: math.ceil(len(names) / MOST_POOLS)]
    every, parts = config.model_copy(update=OFF), []
    for name in names:
        index = ImageIndex.open(indexes, name, embeddings)
        sources, captions, prompts = sample_edits(index.pool, MOST_EDITS // len(names), derive_seed(seed, "thresholds", name))
        own = single(index.pool.gather(sources))
        parts.append(find_candidates(index, sources, own, captions, prompts, every))
    found = join_candidates(parts)
    counts = np.diff(found.ends, prepend=0)
    return PossibleTargets(
        edits=len(counts),
        edit_of=np.repeat(np.arange(len(counts)), counts),
        scores=dict(zip(SCORES, found.scores.T, strict=True)),
    )
