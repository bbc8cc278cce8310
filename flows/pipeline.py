"""The pipeline as a Prefect flow: ``python -m flows.pipeline [--force] [STAGE …]``.

Each stage of dvc.yaml is a task that runs ``dvc repro --single-item``: DVC decides whether there is anything to do.
"""

import argparse
from functools import partial

from prefect import flow

from flows.support.cancellation import cancellable
from flows.support.command import exit_code_of, run
from flows.support.dag import stages_in_order
from flows.support.record import put_aside_damaged_record
from flows.support.tasks import publish_results, run_stages
from stages.core.composition import check_composed

LIMIT_SECONDS = 7 * 24 * 3600


@flow(timeout_seconds=LIMIT_SECONDS)
def pipeline(force: bool = False, targets: list[str] | None = None) -> list[str]:
    """Bring every stage up to date.

    Args:
        force: run stages even if nothing changed.
        targets: run only these stages and those that they need.

    Returns:
        The names of the stages, in their order.

    Raises:
        InputError: params.yaml is not what conf/ composes to.
    """
    with cancellable():
        check_composed()  # not what an upgrade that was interrupted, or a hand, has left in params.yaml
        put_aside_damaged_record()
        names = stages_in_order(targets or ())
        run_stages(names, forced=names if force else ())
        publish_results()
        return names


def main() -> int:
    """Run the flow with the arguments of the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description="Bring the pipeline up to date.")
    parser.add_argument("targets", nargs="*", metavar="STAGE", help="only these stages and those that they need")
    parser.add_argument("--force", action="store_true", help="run stages even if nothing changed")
    options = parser.parse_args()
    flow = partial(pipeline, force=options.force, targets=options.targets or None)
    return exit_code_of(flow, check=partial(stages_in_order, options.targets))


if __name__ == "__main__":
    run(main)
