"""What the commands of a night import, done once by the process that they are forked from."""

from importlib import import_module

SUPPORT = ("preloaded", "simulated_night", "stand_in_trainer")
for module in (
    *(f"tests.support.{name}" for name in SUPPORT),
    *("stages.tracking.data_retention", "stages.tracking.retention", "stages.cli.main"),
    *("dvc.utils.hydra", "hydra", "omegaconf"),
    *("dvc.cli", "dvc.commands.repro", "dvc.commands.data_sync", "dvc.repo.reproduce", "dvc.repo.push"),
):
    import_module(module)
