"""``iedit serve``: what is served, where, and what is refused before anything listens."""

import signal
from collections.abc import Iterator

import pytest
import uvicorn

from stages.cli import main as cli
from stages.serving.security import KEY_VARIABLE


@pytest.fixture
def started(monkeypatch) -> Iterator[list[uvicorn.Config]]:
    """The settings of the servers that would have run."""
    configs: list[uvicorn.Config] = []
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setattr(uvicorn.Server, "run", lambda server: configs.append(server.config))
    handler = signal.getsignal(signal.SIGTERM)
    yield configs
    signal.signal(signal.SIGTERM, handler)


def refusal(capsys, *options: str) -> str:
    assert cli.main(["serve", *options]) == 2
    return capsys.readouterr().err


def test_the_champion_is_served_on_this_machine(champion, started):
    assert cli.main(["serve", "--port", "5009"]) == 0
    (config,) = started
    assert (config.host, config.port, config.server_header, config.proxy_headers) == ("127.0.0.1", 5009, False, False)


def test_a_folder_is_served_without_a_store(registered_project, tmp_path, monkeypatch, started):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["serve", "--model", str(registered_project / "models" / "iedit")]) == 0
    assert len(started) == 1


def test_other_machines_need_a_key(champion, started, monkeypatch, capsys):
    assert refusal(capsys, "--host", "0.0.0.0").startswith("error: host = '0.0.0.0': other machines could connect, so")
    monkeypatch.setenv(KEY_VARIABLE, "short")
    assert refusal(capsys, "--host", "0.0.0.0").startswith(f"error: {KEY_VARIABLE}: has 5 characters")
    monkeypatch.setenv(KEY_VARIABLE, "long enough to be a key")
    assert cli.main(["serve", "--host", "0.0.0.0"]) == 0
    assert len(started) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "nowhere"), "error: model nowhere: neither a folder nor models:/NAME@ALIAS"),
        (("--model", "models:/iedit/99"), "error: model = '99': no such model"),
        (("--model", "models:/iedit@nobody"), "error: model = 'nobody': no such model"),
        (("--model", "models:/iedit"), "error: models:/iedit: names no version"),
        (("--requests-per-minute", "-1"), "error: requests per minute = -1: must be at least 0"),
        (("--deadline", "0"), "error: deadline = 0: must be finite and above 0 seconds"),
        (("--deadline", "inf"), "error: deadline = inf: must be finite and above 0 seconds"),
        (("--port", "99999"), "error: port = 99999: must be at least 0 and at most 65535"),
        (("--port", "-1"), "error: port = -1: must be at least 0 and at most 65535"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(champion, started, capsys, options, message):
    assert refusal(capsys, *options).startswith(message)
    assert started == []


def test_without_a_store_serve_is_refused(tmp_path, started, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert refusal(capsys).startswith("error: mlflow.db: no such file")
    assert started == []
