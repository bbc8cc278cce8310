import time
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Crashed, Running

from flows import refresh
from flows.support import automations
from flows.support.automations import (
    LATENESS,
    REPEATS,
    TAG,
    keep_webhook,
    repeat_crashed_runs,
    report_failures,
    set_up,
)

REPORTS = ("iedit: tell failures", "iedit: report late runs", "iedit: report no worker", "iedit: report upkeep")
OTHERS = ("iedit: end silent runs", "iedit: repeat crashed runs")
ADDRESS = "http://127.0.0.1:9/"
PATIENCE = 300  # seconds; the server answers within one or two


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
