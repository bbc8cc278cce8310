"""The champion before and after a refresh; the tasks are called as functions, so no server is needed."""

from types import SimpleNamespace

import pytest

from flows.support import registry
from stages.core.errors import InputError
from tests.support.versions import register, register_foreign

NOWHERE = "http://127.0.0.1:9"


def decide(published: dict[str, str], before: str | None) -> str:
    registry.publish_decision.fn(before)
    return published["decision"]


def test_the_decision_names_the_champion(client, published):
    assert registry.champion_version.fn() is None
    assert decide(published, None) == "No model is registered."
    for _ in range(2):
        register(client)
    assert decide(published, None) == "There is no champion; version 2 is the newest."
    client.set_registered_model_alias("iedit", "champion", "1")
    assert decide(published, None) == "Promoted: version 1 is the champion, the first."
    assert decide(published, "1") == "Kept: version 1 stays the champion; version 2 is the newest."
    client.set_registered_model_alias("iedit", "champion", "2")
    assert registry.champion_version.fn() == "2"
    assert decide(published, "1") == "Promoted: version 2 is the champion, 1 was before."
    assert decide(published, "2") == "Kept: no new model was registered, and version 2 stays the champion."


@pytest.mark.parametrize("task", [registry.champion_version.fn, lambda: registry.publish_decision.fn("1")])
def test_an_absent_server_is_retried(client, published, monkeypatch, task):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    with pytest.raises(InputError, match=f"^tracking server {NOWHERE}: ") as away:
        task()
    assert registry.is_transient(None, None, SimpleNamespace(data=away.value))
    assert not published


def test_a_champion_of_others_stays_until_a_person_acts(client, published):
    register(client)
    client.set_registered_model_alias("iedit", "champion", register_foreign(client))
    assert registry.champion_version.fn() == "2"
    assert decide(published, "2") == "Kept: version 2 stays the champion; version 1 is the newest."
    register(client)
    assert decide(published, "2") == "Kept: version 2 stays the champion; version 3 is the newest."
