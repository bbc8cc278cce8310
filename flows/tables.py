"""What runs every week: the tables, made anew from the model and the evaluation set as they are."""

from prefect import flow

from flows.tasks import publish_results, run_stages

LIMIT_SECONDS = 12 * 3600


@flow(timeout_seconds=LIMIT_SECONDS)
def tables() -> None:
    """Evaluate the model again, and publish the tables."""
    run_stages(["evaluate"], forced=["evaluate"])
    publish_results()
