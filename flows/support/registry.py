"""The tasks that read the champion before a refresh, and publish afterwards whether there is a new one.

The stage evaluate compares and promotes; nothing is decided here.
"""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from flows.support.tasks import RETRIED, is_transient
from stages.tracking.errors import store_errors_in_one_line


@task(retry_condition_fn=is_transient, **RETRIED)
def champion_version() -> str | None:
    """Return the version that is the champion, if there is one."""
    from stages.tracking.registry import CHAMPION, version_by_alias
    from stages.tracking.store import connect

    with store_errors_in_one_line():
        return version_by_alias(connect(), CHAMPION)  # makes the store if nothing was ever registered


@task(retry_condition_fn=is_transient, **RETRIED)
def publish_decision(before: str | None) -> None:
    """Publish whether the champion has changed.

    Args:
        before: the champion's version before the run.
    """
    from stages.tracking.registry import latest_version

    with store_errors_in_one_line():
        newest, now = latest_version(), champion_version.fn()
    if now != before:
        text = f"Promoted: version {now} is the champion" + (f", {before} was before." if before else ", the first.")
    elif newest is None:
        text = "No model is registered."
    elif now is None:
        text = f"There is no champion; version {newest.version} is the newest."
    elif newest.version == now:
        text = f"Kept: no new model was registered, and version {now} stays the champion."
    else:
        text = f"Kept: version {now} stays the champion; version {newest.version} is the newest."
    create_markdown_artifact(key="decision", markdown=text, description="The champion")
