"""``python -m stages NAME``: run a stage of the pipeline on params.yaml.

A stage's own module takes many seconds to import. What can be wrong from the start is told before: the parameters, and
for stages that keep records in MLflow that it cannot be reached.
"""

import argparse
from collections.abc import Callable
from importlib import import_module

from stages.core.interrupt import exit_at_once, on_interrupt, raise_once
from stages.core.params import Params
from stages.core.run import is_first_process, run, set_threads

STAGES = ("ingest", "caption", "mutate", "retrieve", "segment", "train", "instruct", "evaluate")
TRACKED = ("train", "instruct", "evaluate")


def stage_named(name: str) -> Callable[[Params], None]:
    """Return the stage ``name``, whose module is imported when it runs."""

    def stage(params: Params) -> None:
        on_interrupt(exit_at_once)  # an import that is interrupted could swallow it, or turn it into something else
        if name in TRACKED and is_first_process():
            from stages.tracking.store import connect

            connect()
        set_threads(params.threads)
        work = getattr(import_module(f"stages.{name}"), name)
        on_interrupt(raise_once)
        work(params)

    stage.__name__ = name
    return stage


def main() -> None:
    """Run the stage that the command line names, and exit."""
    parser = argparse.ArgumentParser(prog="python -m stages", description="Run a stage of dvc.yaml on params.yaml.")
    parser.add_argument("stage", choices=STAGES)
    run(stage_named(parser.parse_args().stage))


if __name__ == "__main__":
    main()
