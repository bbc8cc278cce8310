"""``python -m stages NAME``: run one stage of the pipeline on params.yaml.

What takes many seconds to import waits until there is work. Invalid parameters, a base model of no supported family, a
library or a compiler that is missing, and an MLflow that cannot be reached are reported before that.
"""

import argparse
from collections.abc import Callable
from importlib import import_module

from stages.core.interrupt import exit_at_once, on_interrupt, raise_once
from stages.core.params import Params
from stages.core.run import run, set_threads
from stages.models.families import check_bases
from stages.training.compilation import check_compiler
from stages.training.optimizers import check_optimizer

STAGES = ("ingest", "caption", "mutate", "retrieve", "segment", "describe", "train", "instruct", "evaluate")


def stage_named(name: str) -> Callable[[Params], None]:
    """Return the stage ``name``, which imports its module when it is called."""

    def stage(params: Params) -> None:
        on_interrupt(exit_at_once)  # code that is being imported could swallow the exception, or change it
        check_bases(params)
        check_optimizer(params.train)
        check_compiler(params.train)
        if name == "evaluate":  # its module needs seconds to import; those of the others import little until they have work
            from stages.comparison.seal import find_finished

            if finished := find_finished(params):
                finished.report()
                return
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
