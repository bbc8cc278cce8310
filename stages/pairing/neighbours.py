"""Nearest neighbours under the paper's query (section 3.1), and the scores that decide whether a pair is kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from stages.core.params import Retrieve

Embeddings = NDArray[np.float32]  # (n, d), rows of unit length


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A source and its pseudo-target, by their rows among the images, with cosines that say how well they match."""

    source: int
    target: int
    query: float  # query · target
    image_image: float  # source · target
    text_image: float  # edit prompt · target
    text_source: float  # edit prompt · source
    directional: float  # cos(target - source, edit prompt - caption)


def mean_query(images: Embeddings, texts: Embeddings, text_weight: float) -> Embeddings:
    """Return the weighted mean of image and text embeddings, row by row, at unit length.

    The paper's mean has a ``text_weight`` of 0.5. Cosines between images spread wider than those between texts and
    images, so at equal weights the source decides the result, and the nearest image seldom shows the edit.

    Args:
        images: (n, d), of any length.
        texts: (n, d), of any length.
        text_weight: in [0, 1].
    """
    return _unit((1 - text_weight) * _unit(images) + text_weight * _unit(texts))


def build_index(images: Embeddings) -> faiss.IndexFlatIP:
    """Return an exact inner-product index over the rows of ``images``."""
    index = faiss.IndexFlatIP(images.shape[1])
    index.add(np.ascontiguousarray(images))
    return index


def find_pairs(
    index: faiss.IndexFlatIP,
    images: Embeddings,
    sources: Sequence[int],
    captions: Embeddings,
    prompts: Embeddings,
    config: Retrieve,
) -> tuple[list[Pair], dict[int, str]]:
    """Return the pairs that pass every filter, in the order of their edits, and for each other edit why it has none.

    For each edit the candidates are tried best first. The target is the first one that is neither the source itself nor
    its near-duplicate, passes the thresholds, and has been a target fewer than ``config.max_uses`` times.

    Args:
        index: an index over ``images``.
        images: embeddings of the whole corpus, (n, d).
        sources: for each edit, the row of its source in ``images``.
        captions: embeddings of the source captions, (m, d).
        prompts: embeddings of the edit prompts, (m, d).
        config: the section ``retrieve``.
    """
    uses: Counter[int] = Counter()
    dropped = {}
    pairs = []
    queries = mean_query(images[list(sources)], prompts, config.text_weight)
    similarities, candidates = index.search(queries, min(config.neighbours + 1, index.ntotal))
    for edit, source in enumerate(sources):
        reasons: Counter[str] = Counter()
        others = [found for found in zip(similarities[edit], candidates[edit], strict=True) if found[1] != source]
        for similarity, target in others[: config.neighbours]:
            pair = _score(source, int(target), float(similarity), images, captions[edit], prompts[edit])
            reason = _objection(pair, uses[pair.target], config)
            if reason is None:
                uses[pair.target] += 1
                pairs.append(pair)
                break
            reasons[reason] += 1
        else:
            # The most frequent objection explains best why the edit has no target.
            dropped[edit] = min(reasons, key=lambda reason: (-reasons[reason], reason)) if reasons else "no other image"
    return pairs, dropped


def _score(source: int, target: int, query: float, images: Embeddings, caption: Embeddings, prompt: Embeddings) -> Pair:
    return Pair(
        source=source,
        target=target,
        query=query,
        image_image=float(images[source] @ images[target]),
        text_image=float(prompt @ images[target]),
        text_source=float(prompt @ images[source]),
        directional=float(_unit(images[target] - images[source]) @ _unit(prompt - caption)),
    )


def _objection(pair: Pair, uses: int, config: Retrieve) -> str | None:
    """Return why a candidate is refused, or None."""
    objections = {
        "target is a near-duplicate of the source": pair.image_image >= config.near_duplicate,
        "target too unlike the source": pair.image_image < config.min_image_image,
        "target does not show the edit prompt": pair.text_image < config.min_text_image,
        "target fits the edit prompt no better than the source": config.text_gain and pair.text_image <= pair.text_source,
        "change of the image does not follow the change of the text": pair.directional < config.min_directional,
        "target used too often": uses >= config.max_uses,
    }
    return next((reason for reason, holds in objections.items() if holds), None)


def _unit(vectors: Embeddings) -> Embeddings:
    """Return vectors scaled to unit length; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
