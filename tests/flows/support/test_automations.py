import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import Abort
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed, Pending, Running, State
from prefect.utilities.engine import propose_state_sync

from flows import refresh
from flows.support import automations, reminders
from flows.support.automations import (
    LATENESS,
    REMINDER,
    REPEATS,
    TAG,
    end_silent_runs,
    keep_webhook,
    repeat_crashed_runs,
    repeat_lost_runs,
    report_failures,
    report_late_runs,
    report_no_worker,
    report_upkeep,
    set_up,
)

REPORTS = ("iedit: tell failures", "iedit: report late runs", "iedit: report no worker", "iedit: report upkeep")
OTHERS = ("iedit: end silent runs", "iedit: repeat crashed runs", "iedit: repeat lost runs")
ADDRESS = "http://127.0.0.1:9/"
PATIENCE = 300  # seconds; the server answers within one or two
LOST = 60  # seconds without an answer after which an event counts as lost
SILENCE = timedelta(seconds=10)  # the shortest that Prefect takes


def actions(client: SyncPrefectClient) -> dict[str, str]:
    """The automations of the server, which has each once, with what they do."""
    found = client.read_automations()
    assert len(found) == len(OTHERS) + len(REPORTS)
    return {each.name: each.actions[0].type for each in found}


def test_the_address_of_alerts_stays_until_it_is_removed(server, monkeypatch, capsys):
    for given, is_sent in (("", False), (ADDRESS, True), (ADDRESS, True), (None, True), ("", False), (None, False)):
        if given is None:
            monkeypatch.delenv("FAILURE_WEBHOOK", raising=False)
        else:
            monkeypatch.setenv("FAILURE_WEBHOOK", given)
        automations.main()
        assert ("no message is sent" in capsys.readouterr().out) is not is_sent
        with get_client(sync_client=True) as client:
            expected = dict.fromkeys(REPORTS, "call-webhook" if is_sent else "do-nothing")
            assert actions(client) == expected | dict.fromkeys(OTHERS, "change-flow-run-state")


@pytest.mark.parametrize(
    "address",
    [
        *("hooks.example/secret", "ftp://hooks.example/secret", "https://", "secret", " https://hooks.example/secret"),
        *("https://hooks.example/secret\n", "https:hooks.example/secret", "https:/hooks.example/secret"),
    ],
)
def test_what_is_no_address_is_refused_unseen(monkeypatch, address):
    """No server is asked."""
    monkeypatch.setenv("FAILURE_WEBHOOK", address)
    with pytest.raises(SystemExit) as refused:
        automations.main()
    assert refused.value.code == (
        "error: FAILURE_WEBHOOK: must be an address of http:// or https:// (it may be a secret, so it is not shown)"
    )


def test_a_night_that_waits_for_the_last_is_not_late():
    assert LATENESS.total_seconds() > refresh.LIMIT_SECONDS


def test_an_automation_that_was_switched_off_stays_off(server):
    set_up(report_failures(None))
    with get_client(sync_client=True) as client:
        (found,) = client.read_automations_by_name(report_failures(None).name)
        client.pause_automation(found.id)
        set_up(report_failures(keep_webhook(ADDRESS)))
        (again,) = client.read_automations_by_name(found.name)
        assert (again.enabled, again.actions[0].type) == (False, "call-webhook")
        client.delete_automation(found.id)


def crash(client: SyncPrefectClient, run: UUID) -> None:
    client.set_flow_run_state(run, Running(), force=True)
    client.set_flow_run_state(run, Crashed(), force=True)


def wait_until_scheduled(client: SyncPrefectClient, run: UUID) -> None:
    end = time.monotonic() + LOST
    while not client.read_flow_run(run).state.is_scheduled():
        if time.monotonic() > end:
            raise TimeoutError(run)
        time.sleep(0.2)


def crash_and_look(client: SyncPrefectClient, deployment: UUID) -> None:
    ours, other, last = (
        client.create_flow_run_from_deployment(deployment, tags=tags).id for tags in ([TAG], ["another"], [TAG])
    )
    for _ in range(REPEATS):
        crash(client, ours)
        wait_until_scheduled(client, ours)
    crash(client, ours)
    crash(client, other)
    crash(client, last)
    wait_until_scheduled(client, last)  # after the two before it
    assert client.read_flow_run(ours).state.is_crashed()
    assert client.read_flow_run(other).state.is_crashed()


def test_a_run_that_crashed_starts_again_a_few_times(server):
    set_up(repeat_crashed_runs(SILENCE))
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow_from_name("crashing"), "crashing")
        crash_and_look(client, deployment)
        client.delete_deployment(deployment)
        client.delete_automation(client.read_automations_by_name(repeat_crashed_runs().name)[0].id)


@pytest.fixture
def client(server) -> Iterator[SyncPrefectClient]:
    """A client of the server, which has no automations of other tests."""
    with get_client(sync_client=True) as client:
        for automation in client.read_automations():
            client.delete_automation(automation.id)
        yield client
        for automation in client.read_automations():
            client.delete_automation(automation.id)


def order(client: SyncPrefectClient, state: State) -> UUID:
    """Order a run, and let it be in a state without any process; return its id."""
    deployment = client.create_deployment(client.create_flow_from_name("lost"), f"lost {uuid4()}")
    run = client.create_flow_run_from_deployment(deployment, tags=[TAG]).id
    client.set_flow_run_state(run, state, force=True)
    return run


def wait_for(client: SyncPrefectClient, run: UUID, name: str) -> None:
    end = time.monotonic() + PATIENCE
    while client.read_flow_run(run).state.name != name:
        assert time.monotonic() < end, client.read_flow_run(run).state
        time.sleep(0.2)


ALL = [
    *(report(uuid4()) for report in (report_failures, report_late_runs, report_no_worker, report_upkeep)),
    *(end_silent_runs(), repeat_lost_runs(), repeat_crashed_runs(), report_upkeep(None)),
]


@pytest.mark.parametrize("automation", ALL, ids=lambda each: each.name)
def test_an_automation_as_it_should_be_is_left_alone(client, monkeypatch, automation: AutomationCore):
    """An update would make the server forget which runs it waits for."""
    set_up(automation)
    updated: list[UUID] = []
    monkeypatch.setattr(SyncPrefectClient, "update_automation", lambda _, found, __: updated.append(found))
    set_up(automation)
    assert updated == []
    set_up(automation.model_copy(update={"description": "another"}))
    assert len(updated) == 1


def test_a_run_lost_before_it_began_starts_again(client):
    """Its worker was killed; it must not keep its place in the pool."""
    set_up(repeat_lost_runs(SILENCE))
    wait_for(client, order(client, Pending()), "AwaitingRetry")


def test_a_run_killed_before_its_first_heartbeat_ends(client):
    set_up(end_silent_runs(SILENCE))
    wait_for(client, order(client, Running()), "Crashed")


@pytest.mark.parametrize(("state", "ends"), [(Running(), "Crashed"), (Pending(), "AwaitingRetry")])
def test_a_reminder_ends_a_forgotten_run(client, state, ends):
    """The automations know nothing of a run that fell silent before they were set up."""
    run = order(client, state)
    set_up(end_silent_runs(SILENCE))
    set_up(repeat_lost_runs(SILENCE))
    reminders.remind()
    wait_for(client, run, ends)


def test_a_reminder_starts_a_crashed_run_again(client):
    """The server was away when it should have done so."""
    run = order(client, Running())
    client.set_flow_run_state(run, Crashed(), force=True)
    set_up(repeat_crashed_runs(SILENCE))
    reminders.remind()
    wait_for(client, run, "AwaitingRetry")


def test_there_is_no_reminder_of_an_old_crash(client, monkeypatch):
    client.set_flow_run_state(order(client, Running()), Crashed(), force=True)
    monkeypatch.setattr(reminders, "LATELY", timedelta(0))
    monkeypatch.setattr(reminders, "emit_event", lambda event, **_: reminded.append(event))
    reminded: list[str] = []
    reminders.remind()
    assert f"{REMINDER}Crashed" not in reminded


def test_a_crash_that_is_reported_twice_is_one_new_start(client):
    """As Prefect does where the process of a run is killed: the second report comes half a minute later."""
    set_up(repeat_crashed_runs(SILENCE))
    run = order(client, Running())
    for _ in range(2):
        with suppress(Abort):
            propose_state_sync(client, Crashed(), flow_run_id=run)
        time.sleep(1)
    wait_for(client, run, "AwaitingRetry")
    client.set_flow_run_state(run, Pending())
    client.set_flow_run_state(run, Running())
    time.sleep(2 * SILENCE.total_seconds())
    names = [state.name for state in client.read_flow_run_states(run)]
    assert Counter(names) == {"Scheduled": 1, "Running": 2, "Crashed": 1, "AwaitingRetry": 1, "Pending": 1}


def test_a_reminder_to_a_server_that_fails_is_one_line():
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # answers 501 to everything
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/api"
        with temporary_settings({PREFECT_API_URL: address}), pytest.raises(SystemExit) as left:
            reminders.main()
        server.shutdown()
    assert str(left.value).startswith(f"error: Prefect's server at {address}: Server error '501 ")
    assert str(left.value).endswith("; its log has the cause")


def test_a_reminder_to_no_server_is_one_line():
    nowhere = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0})
    with nowhere, pytest.raises(SystemExit) as left:
        reminders.main()
    assert str(left.value).startswith("error: Prefect's server at http://127.0.0.1:9/api: ")
