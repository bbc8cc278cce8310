"""``python -m stages.studies.scale [PART …]``: measure how the pipeline's cost grows, and write reports/scale.json.

Each part is written when it is measured; parts that are not named keep their figures. A part works in a folder of its own
below data/scale, which is removed when it is done; the longest, growth, resumes there after an interruption.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stages.core.errors import InputError
from stages.core.files import read_json, write_json, write_text
from stages.core.params import Params
from stages.core.paths import MEASURED, SCALE
from stages.core.run import run
from stages.report.plots import plot_growth
from stages.studies.scale.bars import table
from stages.studies.scale.project import STAGES
from stages.studies.usage import ROOT

PARTS = {
    "growth": "growth:measure_growth",
    "engines": "engines:measure_engines",
    "stages": "bare_models:measure_stages",
    "training": "training:measure_training",
    "retrieval": "retrieval:measure_retrieval",
    "photographs": "photographs:measure_photographs",
    "true_size": "true_size:measure_true_size",
    "versioning": "versioning:measure_versioning",
}
"""Part of reports/scale.json → the function that measures it in a folder."""

MADE = "made"  # the entry of reports/scale.json with when and where each part was measured
RESUMED = ("growth",)  # parts that resume in their folder


def scale(names: list[str], params: Params) -> None:  # noqa: ARG001 - every part composes its own
    """Measure the named parts, or all, and write figures, table and plot.

    Raises:
        InputError: there is no such part, or something it runs fails.
    """
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(f"{unknown[0]}: no such part; there are {', '.join(PARTS)}")
    figures: dict[str, Any] = read_json(SCALE.with_suffix(".json")) if SCALE.with_suffix(".json").is_file() else {}
    for name in names or PARTS:
        print(f"measuring {name}", flush=True)
        module, _, function = PARTS[name].partition(":")
        measure: Callable[[Path], Any] = getattr(import_module(f"{__package__}.{module}"), function)
        folder = MEASURED / name
        if name not in RESUMED:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        # A process of its own: Linux counts what a process holds as the peak memory of the stages that it starts.
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            figures[name] = alone.submit(measure, folder).result()
        figures.setdefault(MADE, {})[name] = _made()
        shutil.rmtree(folder)
        write_json(SCALE.with_suffix(".json"), figures)
    _write_results(figures)


def _made() -> dict[str, str]:
    """Return when a part was measured, where, and on which commit, which is empty outside of a repository."""
    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {"date": date, "commit": commit, "machine": f"{os.cpu_count()} cores ({platform.machine()})"}


def _write_results(figures: Mapping[str, Any]) -> None:
    """Write the table of bars and the plot of growth, and print the table."""
    bars = table(figures)
    write_text(SCALE.with_suffix(".md"), bars)
    if growth := figures.get("growth"):
        images = growth["images"]
        stages = growth["stages"]
        seconds = {
            name: [stages[name]["runs"][str(count)]["cpu"] - stages[name]["start"] for count in images] for name in STAGES
        }
        write_text(SCALE.with_suffix(".svg"), plot_growth(images, seconds))
    print(bars)


if __name__ == "__main__":
    stage = partial(scale, sys.argv[1:])
    stage.__name__ = "scale"  # type: ignore[attr-defined]
    run(stage)
