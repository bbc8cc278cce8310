"""How the Prefect server reacts to events of ours: ``python -m flows.support.automations`` creates or updates the automations.

FAILURE_WEBHOOK is the address that gets a message for every failed run and every other alert: JSON with a ``text``, which
Slack, Mattermost and others accept. The server keeps it: without the variable it stays as it was, and an empty one removes it.
Without an address the server lists alerts among its events, and sends no message.
"""

import os
import sys
from datetime import timedelta
from typing import cast
from uuid import UUID

import httpx
from prefect import get_client
from prefect.automations import CallWebhook, ChangeFlowRunState, DoNothing, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from pydantic import SecretStr

TAG = "iedit"  # on all deployments in prefect.yaml
POOL = "iedit"
WEBHOOK = "iedit-failures"
UPKEEP = "iedit.upkeep"  # an event of flows/support/upkeep.py
HEARTBEAT, STATE = "prefect.flow-run.heartbeat", "prefect.flow-run."
TAKEN, AT_WORK = {f"{STATE}Pending"}, {f"{STATE}Running", HEARTBEAT}  # from the worker; from the run itself
REMINDER = "iedit.run."  # and a state: events of flows/support/reminders.py, in case the server has forgotten those before
FAILED, ENDED = ("Failed", "Crashed", "TimedOut"), ("Completed", "Failed", "Crashed", "TimedOut", "Cancelled")
REPEATS = 3  # how often a run that crashes is started again
REPORTED = timedelta(minutes=2)  # within which Prefect's worker, too, has reported the crash of a process
AGAIN, RESUMES, NOT_BEGUN = "AwaitingRetry", "Resumes after a crash", "Did not begin within"  # a state, and messages of ours
SILENCE = timedelta(minutes=15)  # longer than a restart of the server takes; prefect.yaml asks for heartbeats
LATENESS = timedelta(days=1)  # longer than a night waits for the one before it: flows/refresh.py ends that in time
RUN = 'flow.name ~ "/" ~ flow_run.name ~ ": "'  # in Jinja
RUNS: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}
OURS: dict[str, str | list[str]] = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}


def report_failures(webhook: UUID | None) -> AutomationCore:
    """Return the automation that sends a message when a run failed, crashed or took too long."""
    return AutomationCore(
        name="iedit: tell failures",  # servers know it by this name; under another they would have two
        description="A run of iedit failed, crashed or took too long.",
        trigger=EventTrigger(
            expect={STATE + state for state in FAILED},
            match=RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[_send(webhook, f'{RUN} ~ flow_run.state.name ~ ". " ~ flow_run.state.message')],
    )


def report_late_runs(webhook: UUID | None, lateness: timedelta = LATENESS) -> AutomationCore:
    """Return the automation that sends a message when a run that is due does not start."""
    return AutomationCore(
        name="iedit: report late runs",
        description=f"A run of iedit has not started within {lateness} of its time.",
        trigger=_absence(TAKEN | AT_WORK, after={f"{STATE}Late", f"{REMINDER}Late"}, within=lateness),
        actions=[_send(webhook, f'{RUN} ~ "has not started within {lateness} of its time"')],
    )


def report_no_worker(webhook: UUID | None) -> AutomationCore:
    """Return the automation that sends a message when the last worker of the pool has stopped sending heartbeats."""
    return AutomationCore(
        name="iedit: report no worker",
        description="The pool of iedit has no worker left, so that nothing that is due will run.",
        trigger=EventTrigger(
            expect={"prefect.work-pool.not-ready"},
            match={"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": POOL},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[_send(webhook, f'"the pool {POOL} has no worker: start one with make worker"')],
    )


def report_upkeep(webhook: UUID | None) -> AutomationCore:
    """Return the automation that sends what a nightly run finds in need of care, such as a disk that fills."""
    return AutomationCore(
        name="iedit: report upkeep",
        description="A disk fills, nothing can be pruned, dvc.lock was damaged, or the champion is old.",
        trigger=EventTrigger(expect={UPKEEP}, posture=Posture.Reactive, threshold=1, within=timedelta(0)),
        actions=[_send(webhook, "event.payload.message")],
    )


def end_silent_runs(silence: timedelta = SILENCE) -> AutomationCore:
    """Return the automation that ends a run whose machine was lost, which would otherwise hold its place in the pool."""
    crashed = ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=f"No heartbeat for {silence}", force=False)
    return AutomationCore(
        name="iedit: end silent runs",
        description="A run of iedit has stopped sending heartbeats: its process was killed, or its machine is gone.",
        trigger=_absence(AT_WORK, after=AT_WORK | {f"{REMINDER}Running"}, within=silence),
        actions=[crashed],
    )


def repeat_lost_runs(silence: timedelta = SILENCE) -> AutomationCore:
    """Return the automation that schedules a run again whose worker was lost before the run began.

    Such a run has crashed without having run, as one has whose code cannot be imported; only this one may be repeated.
    """
    again = ChangeFlowRunState(name=AGAIN, state=StateType.SCHEDULED, message=f"{NOT_BEGUN} {silence}", force=False)
    return AutomationCore(
        name="iedit: repeat lost runs",
        description="A worker took a run of iedit and did not begin it: it was killed, or its machine is gone.",
        trigger=_absence(TAKEN | AT_WORK, after=TAKEN | {f"{REMINDER}Pending"}, within=silence),
        actions=[again],
    )


def repeat_crashed_runs(reported: timedelta = REPORTED) -> AutomationCore:
    """Return the automation that starts a run again whose process was killed or whose machine was lost, so that it resumes.

    Prefect reports a killed process twice: at once, and when its worker is done with it, half a minute later on a busy
    machine. The second report is void if the run is still crashed then. A run that was started again by then would crash once
    more, and be started a second time beside itself. So this waits. It does not see what has become of the run since;
    flows/support/cancellation.py does.
    """
    again = ChangeFlowRunState(name=AGAIN, state=StateType.SCHEDULED, message=RESUMES, force=False)
    return AutomationCore(
        name="iedit: repeat crashed runs",
        description=f"A run of iedit crashed: it starts again, {REPEATS} times at most.",
        trigger=_absence(TAKEN | AT_WORK, after={f"{STATE}Crashed", f"{REMINDER}Crashed"}, within=reported, starts=REPEATS),
        actions=[again],
    )


def _absence(expected: set[str], *, after: set[str], within: timedelta, starts: int | None = None) -> EventTrigger:
    """Return the trigger that fires when neither an expected event nor the end of a run of ours follows another one in time.

    It sees runs that were started ``starts`` times at most; None: all.
    """
    counts: dict[str, str | list[str]] = {}
    if starts is not None:
        counts = {"prefect.run-count": [str(count) for count in range(1, starts + 1)]}
    return EventTrigger(
        after=after,
        expect=expected | {STATE + state for state in ENDED},
        match=RUNS | counts,
        match_related=OURS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _send(webhook: UUID | None, text: str) -> CallWebhook | DoNothing:
    """Return the action that sends a text, an expression of Jinja; without a webhook it does nothing."""
    if webhook is None:
        return DoNothing()
    return CallWebhook(block_document_id=webhook, payload='{"text": {{ (' + text + ")|tojson}}}")


def keep_webhook(address: str | None) -> UUID | None:
    """Let the server keep the address of a webhook, and return the id of its block there; None if it has none.

    Args:
        address: None: the one that the server has; empty: none from now on.
    """
    if address:
        block = Webhook(url=SecretStr(address), headers=SecretDict({"Content-Type": "application/json"}))
        return cast("UUID", block.save(WEBHOOK, overwrite=True))
    with get_client(sync_client=True) as client:
        try:
            kept = client.read_block_document_by_name(WEBHOOK, Webhook.get_block_type_slug(), include_secrets=False).id
        except ObjectNotFound:
            return None
        if address is None:
            return kept
        client.delete_block_document(kept)
        return None


def _is_url(address: str) -> bool:
    """Return whether the library by which Prefect sends messages takes an address."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def set_up(automation: AutomationCore) -> None:
    """Create an automation, or update the one of the same name; one that was switched off by hand stays off.

    One that is as it should be is left alone, because an update makes the server forget which runs the automation waits for.
    """
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(automation.name)
        if not found:
            client.create_automation(automation)
            return
        kept = automation.model_copy(update={"enabled": found[0].enabled})
        if found[0].model_dump(include=set(AutomationCore.model_fields)) != kept.model_dump():
            client.update_automation(found[0].id, kept)


def main() -> None:
    """Set up all automations, and print whether alerts are sent, or exit with one line if FAILURE_WEBHOOK is no address."""
    address = os.environ.get("FAILURE_WEBHOOK")
    if address and not _is_url(address):
        sys.exit("error: FAILURE_WEBHOOK: must be an address of http:// or https:// (it may be a secret, so it is not shown)")
    webhook = keep_webhook(address)
    reports = [report(webhook) for report in (report_failures, report_late_runs, report_no_worker, report_upkeep)]
    for automation in (*reports, end_silent_runs(), repeat_lost_runs(), repeat_crashed_runs()):
        set_up(automation)
        print(f"automation {automation.name!r} is set up")
    if webhook is None:
        print("no message is sent, because FAILURE_WEBHOOK names no address: alerts are listed among the server's events")


if __name__ == "__main__":
    main()
