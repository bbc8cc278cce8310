from types import SimpleNamespace

import pytest
from prefect import get_client
from prefect.automations import DoNothing

from flows import refresh
from flows.support import automations
from flows.support.automations import (
    LATENESS,
    end_silent_runs,
    report_failures,
    report_late_runs,
    report_no_worker,
    report_upkeep,
    set_up,
)

REPORTS = (report_failures, report_late_runs, report_no_worker, report_upkeep)
NAMES = ("iedit: tell failures", "iedit: report late runs", "iedit: report no worker", "iedit: report upkeep")


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
    assert [each.name for each in made] == [str(webhook), *NAMES[1:], "iedit: end silent runs"]
    assert ("no message is sent" in capsys.readouterr().out) is is_silent
