"""``python -m stages NAME``: run a stage of the pipeline on params.yaml.

A stage's own module takes many seconds to import. What can be wrong from the start is told before: the parameters, and
for stages that keep records in MLflow that it cannot be reached.
"""

import argparse
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from stages.errors import InputError
from stages.interrupt import exit_at_once, on_interrupt, raise_once
from stages.params import Params
from stages.run import run, set_threads

TRACKED = ("train", "evaluate")


def stage_named(name: str) -> Callable[[Params], None]:
    """Return the stage ``name``, whose module is imported when it runs."""

    def stage(params: Params) -> None:
        if name not in Params.model_fields or find_spec(f"stages.{name}") is None:
            raise InputError(f"{name}: no such stage; dvc.yaml names them")
        if name in TRACKED:
            from stages.tracking.store import connect

            connect()
        on_interrupt(exit_at_once)  # an import that is interrupted could swallow it, or turn it into something else
        set_threads(params.threads)
        work = getattr(import_module(f"stages.{name}"), name)
        on_interrupt(raise_once)
        work(params)

    stage.__name__ = name
    return stage


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m stages", description="Run a stage of dvc.yaml.")
    parser.add_argument("stage")
    run(stage_named(parser.parse_args().stage))
