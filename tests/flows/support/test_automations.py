import time
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect import get_client
from prefect.automations import DoNothing
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Crashed, Running

from flows import refresh
from flows.support import automations
from flows.support.automations import (
    LATENESS,
    REPEATS,
    TAG,
    end_silent_runs,
    repeat_crashed_runs,
    report_failures,
    report_late_runs,
    report_no_worker,
    report_upkeep,
    set_up,
)

REPORTS = (report_failures, report_late_runs, report_no_worker, report_upkeep)
NAMES = ("iedit: tell failures", "iedit: report late runs", "iedit: report no worker", "iedit: report upkeep")
PATIENCE = 300  # seconds; the server answers within one or two


def test_automations_exist_once_however_often_they_are_set_up(server):
    for webhook in (None, "http://127.0.0.1:9/", "http://127.0.0.1:9/", None):
        for report in REPORTS:
            set_up(report(webhook))
        set_up(end_silent_runs())
        with get_client(sync_client=True) as client:
            found = {each.name: each.actions[0].type for each in client.read_automations()}
            assert len(client.read_automations()) == 5
        assert found.pop("iedit: end silent runs") == "change-flow-run-state"
        assert found == dict.fromkeys(NAMES, "call-webhook" if webhook else "do-nothing")


def test_a_night_that_waits_for_the_last_is_not_late():
    assert LATENESS.total_seconds() > refresh.LIMIT_SECONDS


def test_an_automation_that_was_switched_off_stays_off(server):
    set_up(report_failures(None))
    with get_client(sync_client=True) as client:
        (found,) = client.read_automations_by_name(report_failures(None).name)
        client.pause_automation(found.id)
        set_up(report_failures("http://127.0.0.1:9/"))
        (again,) = client.read_automations_by_name(found.name)
        assert (again.enabled, again.actions[0].type) == (False, "call-webhook")
        client.delete_automation(found.id)


def crash(client: SyncPrefectClient, run: UUID) -> None:
    client.set_flow_run_state(run, Running(), force=True)
    client.set_flow_run_state(run, Crashed(), force=True)


def wait_until_scheduled(client: SyncPrefectClient, run: UUID) -> None:
    end = time.monotonic() + PATIENCE
    while not client.read_flow_run(run).state.is_scheduled():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_run_that_crashed_starts_again_a_few_times(server):
    set_up(repeat_crashed_runs())
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow_from_name("crashing"), "crashing")
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
        client.delete_deployment(deployment)
        client.delete_automation(client.read_automations_by_name(repeat_crashed_runs().name)[0].id)


@pytest.mark.parametrize(("webhook", "is_silent"), [(None, True), ("http://127.0.0.1:9/", False)])
def test_prints_whether_failures_are_reported(monkeypatch, capsys, webhook, is_silent):
    made = []
    monkeypatch.setattr(automations, "set_up", made.append)
    monkeypatch.setattr(automations, "_send", lambda *_: DoNothing())
    monkeypatch.setattr(automations, "report_failures", lambda given: SimpleNamespace(name=str(given)))
    if webhook is None:
        monkeypatch.delenv("FAILURE_WEBHOOK", raising=False)
    else:
        monkeypatch.setenv("FAILURE_WEBHOOK", webhook)
    automations.main()
    assert [each.name for each in made] == [str(webhook), *NAMES[1:], "iedit: end silent runs", "iedit: repeat crashed runs"]
    assert ("no message is sent" in capsys.readouterr().out) is is_silent
