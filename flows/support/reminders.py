"""Remind the server of the runs that are late, should be at work, or crashed lately: ``python -m flows.support.reminders``.

An automation waits for the next sign of a run since the last one. The server forgets this when the automation changes, and when
it starts after the time was over, as after a power cut. A run that was lost then would keep its place in the pool for ever.
"""

import sys
from datetime import UTC, datetime, timedelta

from httpx import HTTPStatusError, TransportError
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName, FlowRunFilterTags
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from flows.support.automations import REMINDER, TAG
from flows.support.server import why_failed
from stages.core.errors import first_line

STATES = ["Late", "Pending", "Running", "Crashed"]
LATELY = timedelta(days=1)  # one that crashed before and was not started again is past


def remind() -> None:
    """Send an event for every run of ours in one of STATES, from which the automations wait unless they do already."""
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[TAG]), state=FlowRunFilterState(name=FlowRunFilterStateName(any_=STATES))
    )
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=wanted)
    for run in runs:
        if run.state_name == "Crashed" and (run.end_time is None or run.end_time < datetime.now(UTC) - LATELY):
            continue
        emit_event(
            f"{REMINDER}{run.state_name}",
            resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.run-count": str(run.run_count)},
            related=[
                {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow"},
                {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"},
            ],
        )


def main() -> None:
    """Remind the server, or exit with one line if it does not answer, or has failed, as where its disk is full."""
    server = f"Prefect's server at {PREFECT_API_URL.value()}"
    try:
        remind()
    except TransportError as error:
        sys.exit(f"error: {server}: {first_line(error)}")
    except HTTPStatusError as error:
        sys.exit(f"error: {server}: {why_failed(error)}")


if __name__ == "__main__":
    main()
