"""What a nightly run finds in need of care; tests/ops shows that the server sends it."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from flows.support import upkeep
from flows.support.automations import UPKEEP
from stages.core.errors import InputError
from stages.tracking import history
from tests.support.composed import composed
from tests.support.versions import register, register_foreign


def check(**bounds: object) -> None:
    """Check with bounds that nothing exceeds but for those given."""
    values = composed()
    values["upkeep"] |= {"min_free": 1e-9, **bounds}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    upkeep.check_upkeep()


@pytest.fixture
def sent(client, without_engine, monkeypatch) -> list[str]:
    """The messages that are sent as events."""
    sent: list[str] = []

    def emit(event: str, payload: dict[str, str], **_: object) -> None:
        assert event == UPKEEP
        sent.append(payload["message"])

    without_engine(upkeep, "check_upkeep")
    monkeypatch.setattr(upkeep, "emit_event", emit)
    monkeypatch.setattr(upkeep, "cache_folder", lambda: Path(".dvc/cache"))
    monkeypatch.setattr(upkeep, "local_remote", lambda: None)
    monkeypatch.setattr(upkeep, "get_current_settings", lambda: SimpleNamespace(home=Path.cwd()))
    return sent


def test_a_healthy_project_sends_nothing(sent):
    check()
    assert sent == []


def test_a_disk_that_fills_is_sent_once(sent, tmp_path):
    Path(".dvc/cache").mkdir(parents=True)  # on the disk of the project
    check(min_free=1e9)
    (message,) = sent
    assert message.startswith(f"{tmp_path}: ")
    assert message.endswith(" GB free, should be 1,000,000,000.0; iedit prune --dry-run prints what could go")


def test_a_full_disk_is_sent_though_mlflow_fails(sent, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/mlflow.db")
    with pytest.raises(InputError, match="tracking server"):
        check(min_free=1e9)
    assert len(sent) == 1


@pytest.mark.parametrize("place", ["remote", "state of Prefect"])
def test_a_full_disk_elsewhere_is_sent(sent, tmp_path, monkeypatch, place):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        elsewhere = Path(name)
        if elsewhere.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is only one disk")
        if place == "remote":
            monkeypatch.setattr(upkeep, "local_remote", lambda: elsewhere)
        else:
            monkeypatch.setattr(upkeep, "get_current_settings", lambda: SimpleNamespace(home=elsewhere))
        check(min_free=1e9)
    assert sorted(message.partition(":")[0] for message in sent) == sorted((name, str(tmp_path)))


@pytest.mark.parametrize(("days", "is_old"), [(30, False), (31, True)])
def test_an_old_champion_is_sent(sent, monkeypatch, days, is_old):
    since = datetime.now(UTC) - timedelta(days=days, minutes=1)
    monkeypatch.setattr(history, "champion_since", lambda _: ("3", since))
    check()
    assert sent == ["models:/iedit@champion: version 3 is 31 days old, should be 30 at most"] * is_old


def test_a_champion_of_others_is_sent(sent, client):
    register(client)
    client.set_registered_model_alias("iedit", "champion", register_foreign(client))
    check()
    (message,) = sent
    assert message.startswith("the champion models:/iedit/2: was not registered by the stage evaluate; ")
