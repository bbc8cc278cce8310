"""Pairs of photographs at 384 × 384: their bytes on disk, and those of the encoder's cache."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.filters import threshold_otsu

from stages.core.paths import CORPUS, HELD_OUT, MASKS, PAIRS, TRAINING_SET
from stages.core.shards import count_samples, list_shards
from stages.corpus.corpus import Corpus
from stages.pairing.training_set import SUFFIX, pack_mask
from stages.studies.scale.project import STAGES, Project, run_all
from stages.studies.true_size.checkpoints import write_checkpoints

WANTED = ("train.base", "train.clip")  # whose latents and texts are kept
DRAWN = 16  # pairs to encode, at some seconds each
TABLES = {"pairs": (PAIRS,), "masks": (MASKS,), "training set": (TRAINING_SET, HELD_OUT)}
"""Table → its folders; each keeps a row for a pair."""
SETTINGS = (
    "preset=embedded",
    "source=folder",
    "ingest.size=384",
    "ingest.format=jpeg",
    "caption.use=given",
    "retrieve.near_duplicate=1.0",  # the squares of a photograph look alike, and no score means anything
    "retrieve.min_image_image=-1.0",
    "retrieve.min_text_image=-1.0",
    "retrieve.min_directional=-1.0",
    "retrieve.text_gain=false",
    "retrieve.held_out=0.4",  # there are few groups of pairs that share no picture
    "segment.min_area=0.0",
    "segment.max_area=1.0",
    f"train.batch={DRAWN}",
    "train.steps=1",
)


def measure_pairs(folder: Path, photographs: Path) -> dict[str, Any]:
    """Make a training set of photographs and encode a part of it as for a training, and return the bytes of both.

    The embedded world's networks choose the pairs and find the masks, at 64 × 64 pixels, so the outlines are smoother than
    CLIPSeg's at 352. More ragged ones are measured too: the bright part of each photograph, by Otsu's threshold. Latents and
    texts are encoded by the networks of Stable Diffusion 1 and CLIP at their true size, with random weights.

    Args:
        folder: where the work is done; it must not exist.
        photographs: a source of the kind folder, whose captions have edits and differ, as the web's do.

    Raises:
        InputError: a stage fails.
    """
    folder.mkdir(parents=True)
    models = write_checkpoints(folder / "models", WANTED)
    source = f"ingest.source.path={os.path.relpath(photographs, folder)}"
    project = Project(folder, *SETTINGS, source)
    run_all(project, STAGES[:-1])  # up to the training set
    named = [f"{name}.name={place.relative_to(folder)}" for name, place in models.items() if name in WANTED]
    project.choose(*SETTINGS, source, *named)
    encoded = project.run("encode")
    return {
        "bytes_per_pair": {name: _bytes_per_row(folder, places) for name, places in TABLES.items()},
        "bytes_per_ragged_mask": round(_bytes_per_ragged_mask(Corpus(folder / CORPUS))),
        "drawn": encoded.done,
        "encoded_bytes_per_drawn_pair": round(encoded.bytes / encoded.done),
    }


def _bytes_per_ragged_mask(corpus: Corpus) -> float:
    """Return the mean size of a mask of each picture's bright part, as it is packed in a table."""
    greys = (np.asarray(corpus.image(row.key).convert("L")) for shard in corpus.shards() for row in corpus.rows(shard))
    return statistics.mean(len(pack_mask(grey > threshold_otsu(grey))) for grey in greys)


def _bytes_per_row(folder: Path, places: Sequence[Path]) -> int:
    """Return the bytes of a row in the tables of some folders."""
    tables = [path for place in places for path in list_shards(folder / place, SUFFIX)]
    return round(sum(path.stat().st_size for path in tables) / sum(count_samples(path, SUFFIX) for path in tables))
