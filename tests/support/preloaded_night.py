"""What the commands of a night import or make at their first use, done once by the process that they are forked from."""

import os
import tempfile
from importlib import import_module
from pathlib import Path

from stages.__main__ import STAGES
from tests.support import ROOT, harness

SUPPORT = ("preloaded", "simulated_night", "stand_in_trainer")
for module in (
    *(f"tests.support.{name}" for name in SUPPORT),
    *(f"stages.{stage}" for stage in STAGES if stage != "evaluate"),
    *("stages.tracking.data_retention", "stages.tracking.retention", "stages.cli.main"),
    *("dvc.utils.hydra", "hydra", "omegaconf"),
    *("dvc.cli", "dvc.commands.repro", "dvc.commands.data_sync", "dvc.repo.reproduce", "dvc.repo.push"),
):
    import_module(module)
with tempfile.TemporaryDirectory() as folder:
    harness.make_store(Path(folder))  # MLflow and its database library prepare themselves for seconds
    os.chdir(ROOT)
