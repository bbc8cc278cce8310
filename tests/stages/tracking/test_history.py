"""Promotions, rollbacks, and the history of champions, on a real store."""

import time
from contextlib import suppress

import pytest

from stages.cli import main as cli
from stages.core.errors import InputError
from stages.tracking import history, store
from stages.tracking.promotion import consider
from tests.support.versions import Judge, champion_number, fail, register, register_foreign, stop


def test_rollbacks_go_back_step_by_step(client):
    versions = [register(client) for _ in range(3)]
    for version in versions:
        history.promote(version.version, "test")
    assert [history.roll_back("bad").version for _ in range(2)] == ["2", "1"]
    with pytest.raises(InputError, match="version 1 is the first champion: there is none before it"):
        history.roll_back("bad")
    assert champion_number() == "1"
    history.promote("3", "good after all")
    assert history.roll_back("bad").version == "1"
    events = history.read_events(client)
    assert [event.version for event in events] == ["1", "2", "3", "2", "1", "3", "1"]
    assert [event.how for event in events[3:]] == ["rolled back", "rolled back", "promoted", "rolled back"]
    assert [event.when for event in events] == sorted(event.when for event in events)


def test_without_a_champion_rollback_is_refused(client):
    with pytest.raises(InputError, match="there is no champion"):
        history.roll_back("bad")


def test_rolled_back_version_returns_by_hand_only(client):
    first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
    for version in (first, second):
        consider(version, judge.standard())
    history.roll_back("bad")
    decision = consider(second, judge.standard())
    assert not decision.passes
    assert decision.why.startswith("a rollback took it down on ")
    assert champion_number() == "1"
    assert consider(second, judge.standard(), by_hand=True).passes
    assert champion_number() == "2"


def test_a_clock_set_back_does_not_undo_a_rollback(client, monkeypatch):
    """The version was promoted while the clock was a day ahead."""
    first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
    now = time.time_ns()
    consider(first, judge.standard())
    monkeypatch.setattr(history.time, "time_ns", lambda: now + 24 * 3600 * 10**9)
    assert consider(second, judge.standard()).passes
    monkeypatch.setattr(history.time, "time_ns", lambda: now + 10**9)
    history.roll_back("bad")
    assert not consider(second, judge.standard()).passes
    assert champion_number() == "1"


def test_rollback_reaches_a_champion_made_by_other_means(client):
    first, second = register(client), register(client)
    client.set_registered_model_alias("iedit", "champion", first.version)
    history.promote(second.version, "test")
    assert history.roll_back("bad").version == "1"
    assert [event.how for event in history.read_events(client)] == ["found", "promoted", "rolled back"]


@pytest.mark.parametrize("make", [register_foreign, lambda client: register(client).version], ids=["foreign", "ours"])
def test_a_champion_set_in_mlflow_is_rolled_back(client, make):
    history.promote(register(client).version, "test")
    client.set_registered_model_alias("iedit", "champion", make(client))
    target = history.rollback_target(client)
    assert target.version == "1"
    assert len(history.read_events(client)) == 1  # to look writes nothing
    assert history.roll_back("bad").version == "1"
    assert champion_number() == "1"
    assert [(event.how, event.former) for event in history.read_events(client)] == [
        ("promoted", None),
        ("found", "1"),
        ("rolled back", "2"),
    ]


def test_kill_before_the_alias_keeps_the_champion(client, monkeypatch):
    first, second = register(client), register(client)
    history.promote(first.version, "test")

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(store.MlflowClient, "set_registered_model_alias", stop)
        history.promote(second.version, "test")
    assert champion_number() == "1"
    history.promote(second.version, "again")
    assert history.roll_back("bad").version == "1"


def test_promoting_a_missing_version_is_refused(client):
    first = register(client)
    history.promote(first.version, "test")
    with pytest.raises(InputError, match=r"^models:/iedit/9: .*not found"):
        history.promote("9", "test")
    assert champion_number() == "1"
    assert len(history.read_events(client)) == 1


def test_without_a_registered_model_history_is_empty(client, capsys):
    client.delete_registered_model("iedit")
    assert history.read_events(client) == []
    assert cli.main(["history"]) == 0
    assert capsys.readouterr().out.splitlines() == ["champion    none", "challenger  none"]


@pytest.mark.parametrize(
    ("asked", "command"),
    [("get_registered_model", ["history"]), ("set_registered_model_tag", ["promote", "1", "--force"])],
)
def test_failing_store_is_not_taken_for_an_empty_one(client, monkeypatch, capsys, asked, command):
    register(client)
    monkeypatch.setattr(store.MlflowClient, asked, fail)
    assert cli.main(command) == 2
    assert capsys.readouterr() == ("", "error: tracking store: gone\n")
    assert champion_number() is None


def test_a_champion_counts_from_its_latest_event(client):
    assert history.champion_since(client) is None
    for _ in range(2):
        register(client)
    history.promote("1", "better")
    history.promote("2", "better")
    version, since = history.champion_since(client)
    assert (version, since) == ("2", history.read_events(client)[-1].when)
    history.roll_back("worse")
    version, since = history.champion_since(client)
    assert (version, since) == ("1", history.read_events(client)[-1].when)
