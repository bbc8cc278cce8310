"""The rates of every stage, from reports/scale.json: of the embedded preset as measured, of the paper preset as counted."""

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.paths import SCALE
from stages.studies.scale.plan import StageRate
from stages.studies.scale.project import STAGES

GIB = 2**30
WIDTH = 512  # of CLIP's embeddings
DRAWN = 20_000  # pairs that a training of the paper draws: 10,000 steps of two

Figures = Mapping[str, Any]  # the content of reports/scale.json


def read_figures() -> Figures:
    """Return the measured figures.

    Raises:
        InputError: reports/scale.json is missing.
    """
    path = SCALE.with_suffix(".json")
    if not path.is_file():
        raise InputError(f"{path}: no such file; run make scale")
    figures: Figures = read_json(path)
    return figures


def embedded_rates(figures: Figures, size: int | None = None) -> list[StageRate]:
    """Return the rates of the embedded preset as measured at one number of images, with networks on the CPU.

    Args:
        figures: the measured figures.
        size: the number of images to take the rates from; None: the largest.
    """
    stages = figures["growth"]["stages"]
    size = size or _images(figures)
    return [
        StageRate(
            stage=name,
            items=1,
            cpu_seconds=(stages[name]["runs"][str(size)]["cpu"] - stages[name]["start"]) / size,
            bytes=stages[name]["runs"][str(size)]["bytes"] / size,
            memory=stages[name]["runs"][str(size)]["peak"],
        )
        for name in STAGES
    ]


def paper_rates(figures: Figures) -> list[StageRate]:
    """Return the rates of the paper preset: networks by their operations, everything else as measured.

    Pictures cost what photographs of 384 × 384 do. How many edits and pairs an image gives, and what their tables take on
    disk, are as in the embedded world; retrieval costs what it does on a million synthetic embeddings.
    """
    return [*_rates_of_images(figures), *_rates_of_pairs(figures)]


def _rates_of_images(figures: Figures) -> list[StageRate]:
    """Return the rates of the stages that work on every image."""
    photographs, million = figures["photographs"], figures["retrieval"]["million"]
    images, runs, uses = _images(figures), _largest_runs(figures), partial(_uses, figures["true_size"])
    edits = runs["mutate"]["done"] / images
    read = photographs["cpu_seconds_per_read"]
    write = statistics.mean(1 / rate for rate in photographs["images_per_cpu_second"])
    serial = million["cpu_seconds"]["index"] + million["cpu_seconds"]["choice"]  # one index, and one choice of all pairs
    mutate = (runs["mutate"]["cpu"] - figures["growth"]["stages"]["mutate"]["start"]) / images
    return [
        StageRate(stage="ingest", items=1, cpu_seconds=write, bytes=photographs["bytes_per_image"], memory=GIB / 2),
        StageRate(
            stage="caption",
            items=1,
            cpu_seconds=read,
            bytes=runs["caption"]["bytes"] / images,
            memory=3 * GIB,
            **uses(("caption", 1)),
        ),
        StageRate(stage="mutate", items=1, cpu_seconds=mutate, bytes=runs["mutate"]["bytes"] / images, memory=GIB),
        StageRate(
            stage="embed",
            items=1,
            cpu_seconds=read,
            bytes=2 * WIDTH * (1 + 2 * edits),
            memory=2 * GIB,
            **uses(("image embedding", 1), ("text embedding", 2 * edits)),
        ),
        StageRate(
            stage="retrieve",
            items=1,
            cpu_seconds=(million["cpu_seconds"]["all"] - serial) / million["images"],
            serial_seconds=serial / million["images"],
            bytes=runs["retrieve"]["bytes"] / images,  # with the small embeddings of the embedded world, a kilobyte
            memory=GIB / 2,
            shared_memory=million["memory"] / million["images"],
            exponent=figures["retrieval"]["exponent"],
            measured_at=million["images"],
        ),
    ]


def _rates_of_pairs(figures: Figures) -> list[StageRate]:
    """Return the rates of the stages that work on pairs."""
    runs, uses, photographs = _largest_runs(figures), partial(_uses, figures["true_size"]), figures["photographs"]
    pairs, read = runs["segment"]["done"] / _images(figures), photographs["cpu_seconds_per_read"]
    tables = photographs["pairs"]["bytes_per_pair"]
    return [
        StageRate(
            stage="segment",
            items=pairs,
            cpu_seconds=2 * read,
            bytes=tables["masks"] + tables["training set"],
            memory=2 * GIB,
            **uses(("mask", 2)),
        ),
        StageRate(
            stage="encode",
            items=pairs,
            most_items=DRAWN,
            cpu_seconds=2 * read,
            bytes=photographs["pairs"]["encoded_bytes_per_drawn_pair"],
            memory=3 * GIB,
            **uses(("latent", 2), ("text embedding", 1)),
        ),
    ]


def _images(figures: Figures) -> int:
    """Return the number of images of the largest corpus measured."""
    return int(figures["growth"]["images"][-1])


def _largest_runs(figures: Figures) -> dict[str, Any]:
    """Return the cost of each stage on it."""
    return {name: stage["runs"][str(_images(figures))] for name, stage in figures["growth"]["stages"].items()}


def _uses(networks: Figures, *needs: tuple[str, float]) -> dict[str, float]:
    """Return what networks cost an item that needs each of them so often."""
    return {
        "operations": sum(networks[name]["operations"] * times for name, times in needs),
        "network_seconds": sum(networks[name]["cpu_seconds"] * times for name, times in needs),
    }
