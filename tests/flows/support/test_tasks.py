"""Which failures are retried, because they may pass by themselves."""

import fcntl
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import httpx
import mlflow
import pytest
from dvc.exceptions import ReproductionError
from dvc.fs import localfs
from dvc.lock import Lock, LockError
from dvc.repo import Repo
from dvc.rwlock import rwlock
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient
from prefect import flow
from prefect.exceptions import PrefectHTTPStatusError
from requests import HTTPError

from flows.support import server as server_failures
from flows.support import tasks, upkeep
from flows.support.process import CommandError, run_command
from flows.support.tasks import TRANSIENT, is_transient, push_data, update_stage
from stages.cli.prune import Spare
from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.paths import LOCK
from stages.core.run import alone
from stages.tracking import outbox, store
from stages.tracking.errors import store_error, store_errors_in_one_line
from tests.support.composed import composed


@flow
def one_stage(stage: str) -> None:
    update_stage.with_options(retry_delay_seconds=0)(stage, force=False)


def test_a_failure_that_may_pass_is_retried(dvc_project, server):
    one_stage("away")
    assert Path("runs/away").read_text() == "run\n" * 3


def test_a_failure_that_cannot_pass_is_not_retried(dvc_project, server):
    with pytest.raises(CommandError, match="seed = -1"):
        one_stage("wrong")
    assert Path("runs/wrong").read_text() == "run\n"


@pytest.mark.parametrize(("lists", "ran"), [("null", []), ("laion", ["download"])])
def test_pictures_are_downloaded_where_lists_are_named(without_engine, monkeypatch, lists, ran):
    done: list[str] = []
    without_engine(tasks, "download_pictures")
    monkeypatch.setattr(tasks, "read_params", lambda: Params.model_validate(composed(f"download.metadata={lists}")))
    monkeypatch.setattr(tasks, "run_logged", lambda command: done.append(command[-1]))
    monkeypatch.setattr(tasks.artifacts, "publish_counts", lambda stage, _: done.append(f"counts of {stage}"))
    tasks.download_pictures()
    assert done == [*ran, *(f"counts of {stage}" for stage in ran)]


def test_a_poor_list_is_an_alert(without_engine, sent, monkeypatch):
    def fail(message: str) -> None:
        raise CommandError(f"stages.cli.main download: exit code 2; its last lines:\nsuccess rate 0.5\nerror: {message}")

    poor = "download.min_success = 0.2: of 10 URLs of a.parquet 1 gave a picture, 9 failed for: HTTP Error 404"
    done: list[str] = []
    without_engine(tasks, "download_pictures")
    monkeypatch.setattr(tasks, "read_params", lambda: Params.model_validate(composed("download.metadata=laion")))
    monkeypatch.setattr(tasks.artifacts, "publish_counts", lambda stage, _: done.append(stage))
    monkeypatch.setattr(tasks, "run_logged", lambda _: fail(poor))
    tasks.download_pictures()
    assert (sent, done) == ([f"iedit.upkeep: {poor}"], ["download"])
    monkeypatch.setattr(tasks, "run_logged", lambda _: fail("a.parquet: 3 of 10 URLs were not tried; run again"))
    with pytest.raises(CommandError, match="not tried"):
        tasks.download_pictures()


@pytest.mark.parametrize(("continue_from", "chooses"), [("base", []), ("champion", ["stages.training.start"])])
def test_the_start_is_chosen_before_the_training_alone(without_engine, monkeypatch, continue_from, chooses):
    done: list[str] = []
    without_engine(tasks, "choose_start", "update_stage")
    monkeypatch.setattr(tasks, "read_params", lambda: Params.model_validate(composed(f"train.continue_from={continue_from}")))
    monkeypatch.setattr(tasks, "run_logged", lambda command: done.append(command[-1]))
    monkeypatch.setattr(tasks, "run_dvc", lambda *words, **_: done.append(words[-1]))
    monkeypatch.setattr(tasks.artifacts, "publish_counts", lambda *_: None)
    tasks.run_stages(["segment", "train", "instruct"])
    assert done == ["segment", *chooses, "train", "instruct"]


def test_locks_of_dvc_are_transient(tmp_path):
    with Lock(str(tmp_path / "lock")), pytest.raises(LockError) as repository:
        Lock(str(tmp_path / "lock")).lock()
    ask = {"tmp_dir": str(tmp_path), "fs": localfs, "read": [], "write": ["data"], "hardlink": False}
    with rwlock(cmd="dvc repro", **ask), pytest.raises(LockError) as files, rwlock(cmd="dvc push", **ask):
        pass
    for held in (repository, files):
        assert TRANSIENT.search(str(held.value))


def test_a_stage_that_is_run_by_hand_is_transient(tmp_path, monkeypatch):
    """It must not make a night fail whose work is done but for the pruning."""
    monkeypatch.chdir(tmp_path)
    LOCK.parent.mkdir()
    with LOCK.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError) as held, alone("iedit prune", wait=False):
            pytest.fail("the lock is held")
    assert TRANSIENT.search(str(held.value))


def test_an_absent_mlflow_server_is_transient(monkeypatch):
    from stages.tracking.store import connect

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError) as away:
        connect()
    assert TRANSIENT.search(str(away.value))
    assert is_transient(None, None, SimpleNamespace(data=away.value))
    assert not is_transient(None, None, SimpleNamespace(data=RuntimeError(str(away.value))))
    monkeypatch.setattr(outbox, "WAIT_SECONDS", 0)
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "http://127.0.0.1:9")
    box = outbox.Outbox()
    box.put(lambda: MlflowClient("http://127.0.0.1:9").search_experiments(max_results=1))
    with pytest.raises(InputError, match="was not back") as gone:
        box.empty()
    assert TRANSIENT.search(str(gone.value))


@pytest.mark.parametrize(("command", "passes"), [("kill -9 $$", True), ("exit 137", True), ("kill -11 $$", False)])
def test_a_stage_killed_from_outside_is_transient(command, passes, tmp_path, monkeypatch):
    """The kernel kills what takes too much memory, which a shell passes on as 137; a stage that crashes has a defect."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(json.dumps({"stages": {"train": {"cmd": command}}}))
    with Repo.init(no_scm=True) as repo, pytest.raises(ReproductionError) as ended:
        repo.reproduce()
    assert bool(TRANSIENT.search(f"{ended.value}: {ended.value.__cause__}")) is passes


def test_dvc_killed_from_outside_is_transient():
    with pytest.raises(CommandError) as ended:
        run_command(["sh", "-c", "kill -9 $$"], print)
    assert TRANSIENT.search(str(ended.value))


def test_a_full_disk_is_an_alert_and_is_tried_again(dvc_project, server, monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(tasks, "warn", sent.append)
    one_stage("full")
    assert Path("runs/full").read_text() == "run\n" * 3
    (alert,) = sent
    assert re.fullmatch("head: .*: No space left on device: make room; the run tries again for 1.7 hours", alert)


@pytest.mark.parametrize("store", ["store", "server http://127.0.0.1:5000"])
def test_the_full_disk_of_mlflow_is_transient(monkeypatch, store):
    sent: list[str] = []
    monkeypatch.setattr(tasks, "warn", sent.append)
    error = store_error(store, "database or disk is full")
    run = SimpleNamespace(id=uuid4())
    for _ in range(2):
        assert is_transient(None, run, SimpleNamespace(data=error))
    assert [line.partition(": make room")[0] for line in sent] == [str(error)]


def test_a_full_disk_of_the_remote_is_an_alert(monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(tasks, "warn", sent.append)
    for error in ("curl: HTTP 413: File too large", "ERROR: [Errno 28] No space left on device: '/remote'"):
        assert push_data.retry_condition_fn(push_data, SimpleNamespace(id=uuid4()), SimpleNamespace(data=CommandError(error)))
    assert [line.partition(":")[0] for line in sent] == ["[Errno 28] No space left on device"]


@pytest.mark.parametrize(("status", "passes"), [(500, True), (404, False)])
def test_a_failure_of_prefects_server_is_transient(monkeypatch, caplog, status, passes):
    """It has no room where it keeps its state; a refusal stays one."""
    monkeypatch.setattr(tasks, "get_run_logger", logging.getLogger)
    monkeypatch.setattr(server_failures, "FULL", sys.maxsize)
    request = httpx.Request("POST", "http://127.0.0.1:4200/api/artifacts/")
    error = PrefectHTTPStatusError("Server error", request=request, response=httpx.Response(status, request=request))
    assert is_transient(None, SimpleNamespace(id=uuid4()), SimpleNamespace(data=error)) == passes
    assert ("Prefect's server: Server error: its disk is full: " in caplog.text) == passes


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_of_mlflow_is_not_transient(status):
    with pytest.raises(InputError, match=r"^tracking store refuses: ") as refused, store_errors_in_one_line():
        raise HTTPError("no", response=SimpleNamespace(status_code=status))
    assert not TRANSIENT.search(str(refused.value))


def test_a_server_that_refuses_from_the_start_is_not_transient(monkeypatch):
    def refuse(_: str) -> None:
        raise MlflowException("not for you", error_code=PERMISSION_DENIED)

    monkeypatch.setattr(store, "_wait_for_answer", refuse)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(InputError, match=r"^tracking server http://127\.0\.0\.1:9 refuses: not for you$") as refused:
        store.connect()
    assert not TRANSIENT.search(str(refused.value))


@pytest.mark.parametrize("status", [429, 502])
def test_a_busy_mlflow_server_is_transient(status):
    with pytest.raises(InputError, match=r"^tracking store: ") as busy, store_errors_in_one_line():
        raise HTTPError("later", response=SimpleNamespace(status_code=status))
    assert TRANSIENT.search(str(busy.value))


def test_push_without_a_remote_says_so(dvc_project, monkeypatch, caplog):
    monkeypatch.setattr(tasks, "get_run_logger", logging.getLogger)
    with caplog.at_level(logging.INFO):
        push_data.fn()
    assert any("no remote is configured" in record.getMessage() for record in caplog.records)


@pytest.fixture
def sent(monkeypatch) -> list[str]:
    """The alerts that are sent."""
    sent: list[str] = []
    monkeypatch.setattr(upkeep, "get_run_logger", logging.getLogger)
    monkeypatch.setattr(upkeep, "emit_event", lambda event, payload, **_: sent.append(f"{event}: {payload['message']}"))
    return sent


@pytest.fixture
def pruned(sent, monkeypatch) -> Callable[[str], list[str]]:
    """A function that prunes while `iedit prune` fails with a message, and returns the alerts."""

    def prune(message: str) -> list[str]:
        def fail(*_: object) -> None:
            raise CommandError(f"prune --keep 10: exit code 2; its last lines:\nerror: {message}")

        monkeypatch.setattr(tasks, "run_logged", fail)
        tasks.prune.fn()
        return sent

    return prune


@pytest.mark.parametrize("versions", [[], ["2", "1"]])
def test_what_is_too_large_after_pruning_is_an_alert(sent, monkeypatch, versions):
    spare = Spare(excess=10.0, most=1000.0, versions=versions, gigabytes=0.5, with_cache=True, keep=None)

    def print_lines(_: object, on_line: Callable[[str], object]) -> None:
        for line in ("keeps      version 3: champion", "removed", str(spare)):
            on_line(line)

    monkeypatch.setattr(tasks, "run_logged", print_lines)
    tasks.prune.fn()
    assert sent == [f"iedit.upkeep: {spare}"]


def test_a_remote_that_is_left_is_an_alert(sent, monkeypatch):
    line = "data       the remote own is left: origin/main names it too, so clones push to it"
    monkeypatch.setattr(tasks, "run_logged", lambda _, on_line: on_line(line))
    tasks.prune.fn()
    assert sent == [f"iedit.upkeep: {line}"]


@pytest.mark.parametrize(
    "reason",
    [
        "DVC cannot determine what is needed: failed to load directory: not in the cache",
        "version 3: its files are not there, so the data that it needs are unknown",
        "lineage.json: damaged, so the data that its version needs are unknown: Unterminated string",
        "mlflow.db: has no version, though this project registered one there, so the data that it needs are unknown; remove it",
        "nosuch: no remote of DVC; there are home",
    ],
)
def test_what_cannot_be_pruned_is_an_alert(pruned, reason):
    assert pruned(reason) == [f"iedit.upkeep: nothing was pruned: {reason}"]


@pytest.mark.parametrize("message", ["DVC cannot determine what is needed: Unable to acquire lock", "iedit prune: no store"])
def test_other_failures_of_pruning_are_raised(pruned, message):
    with pytest.raises(CommandError, match=message):
        pruned(message)
