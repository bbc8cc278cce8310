"""Wall time of a stage on each engine: serial, two processes, and Ray with two workers."""

from pathlib import Path
from typing import Any

from stages.core.files import folder_digest
from stages.core.paths import CAPTIONS
from stages.studies.scale.figures import ratio
from stages.studies.scale.growth import new_project, world

STAGE = "caption"
ENGINES = {"serial": 1, "processes": 2, "ray": 2}  # engine → workers
SIZES = (400, 4400)  # images; the difference of their times leaves the start of engine and model out
ROUNDS = 3


def measure_engines(folder: Path) -> dict[str, Any]:
    """Caption two corpora on every engine in turn, several times; report images a second and ratios.

    Raises:
        InputError: a stage fails.
    """
    projects = {size: new_project(folder / str(size), size) for size in SIZES}
    for project in projects.values():
        project.run("ingest")
    rates: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    bytes_of: dict[str, str] = {}
    for _ in range(ROUNDS):
        for engine, workers in ENGINES.items():
            walls = []
            for size, project in projects.items():
                project.choose(*world(size, engine, workers))
                project.forget(CAPTIONS)
                walls.append(project.run(STAGE).wall)
            rates[engine].append((SIZES[1] - SIZES[0]) / (walls[1] - walls[0]))
            bytes_of[engine] = folder_digest(projects[SIZES[1]].folder / CAPTIONS)
    return {
        "stage": STAGE,
        "images": SIZES[1],
        "workers": ENGINES,
        "images_per_second": {engine: [round(rate, 1) for rate in values] for engine, values in rates.items()},
        "processes_to_serial": ratio(rates["processes"], rates["serial"]),
        "ray_to_processes": ratio(rates["ray"], rates["processes"]),
        "same_bytes": len(set(bytes_of.values())) == 1,
    }
