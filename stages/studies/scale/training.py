"""How close training and its encoder come to their networks alone, on the embedded world."""

from contextlib import chdir
from pathlib import Path
from typing import Any

from stages.core.params_file import read_params
from stages.studies.scale.growth import new_project
from stages.studies.scale.project import run_all
from stages.studies.scale.samples import measure_encoder, measure_samples

IMAGES = 2000
STAGES = ("ingest", "caption", "mutate", "retrieve", "segment")


def measure_training(folder: Path) -> dict[str, Any]:
    """Build a training set in a folder, and return the speed of the encoder and of the training beside their networks."""
    project = new_project(folder, IMAGES)
    run_all(project, STAGES)
    with chdir(project.folder):
        params = read_params()
        return {"encoder": measure_encoder(params), "training": measure_samples(params)}
