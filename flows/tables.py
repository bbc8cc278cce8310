"""The weekly run: the tables that nightly runs do not renew. ``python -m flows.tables``.

They are made in a snapshot of the project, so that a nightly run neither waits for them nor changes what they are made from.
"""

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.ablation import SeedCount, ablation, check_project
from flows.support.artifacts import Progress
from flows.support.cancellation import cancellable
from flows.support.command import exit_code_of, run
from flows.support.sandbox import Sandbox, open_sandbox
from flows.support.tasks import RETRIED, is_transient
from stages.core.paths import REPORTS, SNAPSHOT
from stages.report.ablation_table import SEEDS

GENERATED, MADE, TRADEOFF = REPORTS / "generated", REPORTS / "benchmarks" / "made", REPORTS / "tradeoff"
"""What the studies write."""
LIMIT_SECONDS = 6 * 24 * 3600  # before the next week's run


@flow(timeout_seconds=LIMIT_SECONDS)
def tables(seeds: SeedCount = SEEDS) -> None:
    """Make Table 1 on generated sources and on the made benchmark, its curves, and Table 2, and publish the tables.

    Args:
        seeds: how many trainings each row of Table 2 has.
    """
    with cancellable():
        check_project()
        with open_sandbox(SNAPSHOT) as snapshot:
            snapshot.check_out()
            edit_generated(snapshot)
            score_benchmark(snapshot)
            publish()
            draw_curves(snapshot)
        ablation(seeds)


@task(retry_condition_fn=is_transient, **RETRIED)
def edit_generated(snapshot: Sandbox) -> None:
    """Run the study of Table 1 on sources that the base model generates."""
    snapshot.run("stages.studies.generated", on_line=Progress("generated").follow)
    snapshot.bring_back(GENERATED)


@task(retry_condition_fn=is_transient, **RETRIED)
def score_benchmark(snapshot: Sandbox) -> None:
    """Run the study of the made benchmark."""
    snapshot.run("stages.studies.made_benchmark", on_line=Progress("benchmark").follow)
    snapshot.bring_back(MADE)


@task(retry_condition_fn=is_transient, **RETRIED)
def publish() -> None:
    """Publish the tables of generated sources and of the made benchmark."""
    for key, folder, description in (
        ("generated", GENERATED, "Table 1 on generated sources"),
        ("benchmark", MADE, "The systems on the made benchmark"),
    ):
        create_markdown_artifact(key=key, markdown=(folder / "table.md").read_text(encoding="utf-8"), description=description)


@task(retry_condition_fn=is_transient, **RETRIED)
def draw_curves(snapshot: Sandbox) -> None:
    """Run the study of CLIPScore against SSIM-M̄ over a range of settings."""
    snapshot.run("stages.studies.tradeoff", on_line=Progress("tradeoff").follow)
    snapshot.bring_back(TRADEOFF)


def main() -> int:
    """Run the flow, and return the exit code."""
    return exit_code_of(tables, check=check_project)


if __name__ == "__main__":
    run(main)
