"""How the Prefect server reacts to events of our runs: ``python -m flows.support.automations`` creates or updates them.

FAILURE_WEBHOOK is the address that gets a message for every failed run: JSON with a ``text``, which Slack, Mattermost and
others accept. If it is not set, a failure is listed among the server's events, and no message is sent.
"""

import os
from datetime import timedelta
from typing import cast
from uuid import UUID

from prefect import get_client
from prefect.automations import CallWebhook, ChangeFlowRunState, DoNothing, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.types import SecretDict
from pydantic import SecretStr

TAG = "iedit"  # on all deployments in prefect.yaml
WEBHOOK = "iedit-failures"
HEARTBEAT, END = "prefect.flow-run.heartbeat", "prefect.flow-run."
FAILED, ENDED = ("Failed", "Crashed", "TimedOut"), ("Completed", "Failed", "Crashed", "TimedOut", "Cancelled")
SILENCE = timedelta(minutes=15)  # longer than a restart of the server takes; prefect.yaml asks for heartbeats
MESSAGE = '{"text": {{ (flow.name ~ "/" ~ flow_run.name ~ ": " ~ flow_run.state.name ~ ". " ~ flow_run.state.message)|tojson}}}'
RUNS: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}
OURS: dict[str, str | list[str]] = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}


def report_failures(webhook: str | None) -> AutomationCore:
    """Return the automation that sends a message when a run failed, crashed or took too long."""
    action: CallWebhook | DoNothing = DoNothing()
    if webhook:
        block = Webhook(url=SecretStr(webhook), headers=SecretDict({"Content-Type": "application/json"}))
        action = CallWebhook(block_document_id=cast("UUID", block.save(WEBHOOK, overwrite=True)), payload=MESSAGE)
    return AutomationCore(
        name="iedit: tell failures",  # servers know it by this name; under another they would have two
        description="A run of iedit failed, crashed or took too long.",
        trigger=EventTrigger(
            expect={END + state for state in FAILED},
            match=RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[action],
    )


def end_silent_runs(silence: timedelta = SILENCE) -> AutomationCore:
    """Return the automation that ends a run whose machine was lost, which would otherwise hold its place in the pool."""
    crashed = ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=f"No heartbeat for {silence}", force=False)
    return AutomationCore(
        name="iedit: end silent runs",
        description="A run of iedit has stopped sending heartbeats: its process was killed, or its machine is gone.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *(END + state for state in ENDED)},
            match=RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[crashed],
    )


def set_up(automation: AutomationCore) -> None:
    """Create an automation, or update the one of the same name; one that was switched off by hand stays off."""
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(automation.name)
        if found:
            client.update_automation(found[0].id, automation.model_copy(update={"enabled": found[0].enabled}))
        else:
            client.create_automation(automation)


def main() -> None:
    """Set up all automations, and print whether failures are reported."""
    webhook = os.environ.get("FAILURE_WEBHOOK")
    for automation in (report_failures(webhook), end_silent_runs()):
        set_up(automation)
        print(f"automation {automation.name!r} is set up")
    if not webhook:
        print("FAILURE_WEBHOOK is not set: failures are listed among the server's events, and no message is sent")


if __name__ == "__main__":
    main()
