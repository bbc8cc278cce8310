"""What became of the registered model: the tasks that look before a refresh, and tell afterwards.

The stage evaluate compares and promotes; nothing is decided here.
"""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from flows.support.tasks import RETRIED, may_pass
from stages.tracking.errors import store_errors_in_one_line


@task(retry_condition_fn=may_pass, **RETRIED)
def champion_version() -> str | None:
    """Return the version that is the champion, if there is one."""
    from stages.tracking.registry import current_champion
    from stages.tracking.store import connect

    with store_errors_in_one_line():
        connect()  # where nothing was ever registered, a store is made now
        champion = current_champion()
    return None if champion is None else champion.version


@task(retry_condition_fn=may_pass, **RETRIED)
def publish_decision(before: str | None) -> None:
    """Publish whether the champion is another one than it was before."""
    from stages.tracking.registry import latest_version

    with store_errors_in_one_line():
        newest, now = latest_version(), champion_version.fn()
    if now != before:
        told = f"Promoted: version {now} is the champion" + (f", {before} was before." if before else ", the first.")
    elif newest is None:
        told = "No model is registered."
    elif now is None:
        told = f"There is no champion; version {newest.version} is the newest."
    elif newest.version == now:
        told = f"Kept: no new model came about, and version {now} stays the champion."
    else:
        told = f"Kept: version {now} stays the champion; version {newest.version} is the newest."
    create_markdown_artifact(key="decision", markdown=told, description="The champion")
