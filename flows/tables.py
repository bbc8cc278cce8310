"""The weekly run: all tables, recomputed from the current data. ``python -m flows.tables``."""

import sys

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.ablation import SeedCount, ablation, check_project
from flows.support.artifacts import Progress
from flows.support.command import exit_code_of, run
from flows.support.tasks import RETRIED, is_transient, publish_results, run_logged, run_stages
from stages.core.paths import REPORTS
from stages.report.ablation_table import SEEDS

GENERATED = REPORTS / "generated" / "table.md"
LIMIT_SECONDS = 6 * 24 * 3600  # before the next week's run


@flow(timeout_seconds=LIMIT_SECONDS)
def tables(seeds: SeedCount = SEEDS) -> None:
    """Evaluate the model again, on generated sources too, draw the curves of Table 1, run the ablation, and publish all.

    Args:
        seeds: how many trainings each row of Table 2 has.
    """
    check_project()
    run_stages(["evaluate"], forced=["evaluate"])
    publish_results()
    edit_generated()
    publish_generated()
    draw_curves()
    ablation(seeds)


@task(retry_condition_fn=is_transient, **RETRIED)
def edit_generated() -> None:
    """Run the study of Table 1 on sources that the base model generates."""
    run_logged([sys.executable, "-m", "stages.studies.generated"], on_line=Progress("generated").follow)


@task(retry_condition_fn=is_transient, **RETRIED)
def publish_generated() -> None:
    """Publish the table of generated sources."""
    table = GENERATED.read_text(encoding="utf-8")
    create_markdown_artifact(key="generated", markdown=table, description="Table 1 on generated sources")


@task(retry_condition_fn=is_transient, **RETRIED)
def draw_curves() -> None:
    """Run the study of CLIPScore against SSIM-M̄ over a range of settings."""
    run_logged([sys.executable, "-m", "stages.studies.tradeoff"], on_line=Progress("tradeoff").follow)


def main() -> int:
    """Run the flow, and return the exit code."""
    return exit_code_of(tables, check=check_project)


if __name__ == "__main__":
    run(main)
