"""Photographs at 384 × 384: bytes on disk, and seconds of an image beside img2dataset's resizer on the same files."""

import csv
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from PIL import Image
from transformers import BlipImageProcessor

from stages.core.errors import InputError
from stages.core.paths import CORPUS, IMG2DATASET
from stages.corpus.corpus import Corpus
from stages.studies.scale.figures import ratio
from stages.studies.scale.pairs import measure_pairs
from stages.studies.scale.project import Project
from stages.studies.usage import ROOT

PICTURES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
"""Colour photographs that scikit-image installs with itself."""

PHOTOS = "photos"  # the folder of the source
SIZE = 384  # pixels a side, as in the paper
SIZES = (40, 440)  # photographs; the difference of their times leaves the stage's start out
ROUNDS = 5
THINGS = ("dog", "cat", "horse", "apple", "car", "guitar", "chair", "rose")  # each caption is another one, as on the web
COLOURS = ("red", "yellow", "green", "blue", "black", "white")
PLACES = ("beach", "forest", "street", "field", "lake", "park", "road", "garden", "hill", "city")
COMPETITOR = ROOT / IMG2DATASET / "bin" / "python"
COMPETITOR_SCRIPT = Path(__file__).with_name("img2dataset_resizer.py")


def measure_photographs(folder: Path) -> dict[str, Any]:
    """Ingest photographs with the paper preset and resize them with img2dataset, in turn; then measure pairs on them.

    Both decode, crop the centre, scale to ``SIZE`` and encode as ``ingest.format`` with ``ingest.quality``. The stage
    also checks, hashes and writes shards with their index, which the resizer does not.

    Raises:
        InputError: ``make scale`` has not installed img2dataset, or a program fails.
    """
    projects = {count: _new_project(folder / str(count), count) for count in SIZES}
    ours, theirs = [], []
    for _ in range(ROUNDS):
        cpu = {count: _ingest(project) for count, project in projects.items()}
        ours.append((SIZES[1] - SIZES[0]) / (cpu[SIZES[1]] - cpu[SIZES[0]]))
        theirs.append(_resize_with_img2dataset(projects[SIZES[1]].folder / PHOTOS))
    sizes = [project.size(CORPUS) for project in projects.values()]
    return {
        "photographs": SIZES[1],
        "size": SIZE,
        "images_per_cpu_second": [round(rate, 1) for rate in ours],
        "img2dataset_images_per_cpu_second": [round(rate, 1) for rate in theirs],
        "to_img2dataset": ratio(ours, theirs),
        "cpu_seconds_per_read": round(_seconds_per_read(Corpus(projects[SIZES[1]].folder / CORPUS)), 5),
        "bytes_per_image": round((sizes[1] - sizes[0]) / (SIZES[1] - SIZES[0])),
        "pairs": measure_pairs(folder / "pairs", projects[SIZES[1]].folder / PHOTOS),
    }


def write_photographs(folder: Path, count: int) -> None:
    """Write JPEG files and metadata.csv: squares cut at random from scikit-image's photographs at their own resolution.

    The captions do not say what is there, but each is another one and has an edit in the embedded world.
    """
    captions = itertools.product(PLACES, COLOURS, THINGS)  # more than enough
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text"])
        for number, (picture, (place, colour, thing)) in enumerate(zip(_squares(count), captions, strict=False)):
            name = f"{number:05d}.jpg"
            picture.save(folder / name, quality=95)
            writer.writerow([name, f"a {colour} {thing} in front of a {place}"])


def _squares(count: int) -> Iterator[Image.Image]:
    rng = np.random.default_rng(0)
    pictures = [Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB") for name in PICTURES]
    for number in range(count):
        picture = pictures[number % len(pictures)]
        shorter = min(picture.size)
        side = int(rng.integers(min(SIZE, shorter) * 3 // 4, shorter + 1))
        left, top = (int(rng.integers(length - side + 1)) for length in picture.size)
        square = picture.crop((left, top, left + side, top + side))
        yield square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.integers(2) else square


def _seconds_per_read(corpus: Corpus) -> float:
    """Return the CPU seconds to read, decode and prepare one picture as BLIP's processor does."""
    torch.set_num_threads(1)  # as in every worker
    processor = BlipImageProcessor()
    keys = [row.key for shard in corpus.shards() for row in corpus.rows(shard)]
    started = time.process_time()
    for key in keys:
        processor(images=corpus.image(key), return_tensors="pt")
    return (time.process_time() - started) / len(keys)


def _new_project(folder: Path, count: int) -> Project:
    folder.mkdir(parents=True)
    write_photographs(folder / PHOTOS, count)
    small = "ingest.min_side=256"  # the preset asks for pictures that need not be enlarged
    return Project(folder, "preset=paper", "source=folder", f"ingest.source.path={PHOTOS}", small, "execution.engine=serial")


def _ingest(project: Project) -> float:
    """Ingest from nothing and return the CPU time in seconds."""
    project.forget(CORPUS)
    return project.run("ingest").cpu


def _resize_with_img2dataset(folder: Path) -> float:
    """Return the images a CPU second of img2dataset's resizer on the files of a folder."""
    if not COMPETITOR.exists():
        raise InputError(f"{COMPETITOR.relative_to(ROOT)}: not installed; run make scale")
    result = subprocess.run([COMPETITOR, COMPETITOR_SCRIPT, folder, str(SIZE)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(f"{COMPETITOR_SCRIPT.name}: {result.stderr.strip().splitlines()[-1]}")
    return float(json.loads(result.stdout.splitlines()[-1])["images_per_cpu_second"])
