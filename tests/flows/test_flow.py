import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import mlflow
import psutil
import pytest
from dvc.fs import localfs
from dvc.lock import Lock, LockError
from dvc.rwlock import rwlock
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient
from prefect import flow, get_client
from prefect.artifacts import Artifact
from requests import HTTPError

import flows
from flows.pipeline import main, pipeline
from flows.support import process
from flows.support.artifacts import Progress
from flows.support.automations import end_silent_runs, set_up, tell_failures
from flows.support.dag import PipelineError, stages_in_order
from flows.support.process import CommandError, calm_lines, run_command
from flows.support.tasks import PASSING, push_data, reproduce
from stages.core.errors import InputError
from stages.tracking import outbox, store
from stages.tracking.errors import store_errors_in_one_line
from tests.support import ROOT

DVC_FILE = """
stages:
  third:
    cmd: cat b.txt && echo the end > reports/latest/table.md
    deps: [b.txt]
    outs: [reports/latest/table.md: {cache: false}]
  second:
    cmd: printf 'bar 10%%\\rbar 50%%\\rbar 100%%\\n' && cp a.txt b.txt
    deps: [a.txt]
    outs: [b.txt]
  first:
    cmd: echo "first speaks" && echo '{"done":5,"dropped":{"too small":2}}' > logs/first.json && echo a > a.txt
    outs: [a.txt]
  lonely:
    cmd: echo "lonely breaks" && exit 3
  away:
    cmd: |
      echo run >> runs/away
      test $(wc -l < runs/away) = 3 || { echo "error: tracking server http://127.0.0.1:9: gone"; exit 2; }
  wrong:
    cmd: |
      echo run >> runs/wrong
      echo "error: params.yaml: seed = -1"
      exit 2
"""


def make_project(folder: Path, stages: str) -> None:
    (folder / "dvc.yaml").write_text(stages)
    dvc = [sys.executable, "-m", "dvc"]
    for command in (["init", "--no-scm", "-q"], ["config", "core.site_cache_dir", str(folder / "site")]):
        subprocess.run([*dvc, *command], cwd=folder, check=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A DVC project without git whose stages are written in the wrong order."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "nested").mkdir()
    (folder / "nested" / "dvc.yaml").write_text("stages:\n  inner:\n    cmd: echo inner > ../inner.txt\n")
    for name in ("logs", "reports/latest", "runs"):
        (folder / name).mkdir(parents=True)
    make_project(folder, DVC_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_analytics_are_off():
    assert flows.os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DVC_NO_ANALYTICS"] == os.environ["DO_NOT_TRACK"] == "1"


class TestOrder:
    def test_it_is_that_of_the_dag(self, project):
        order = stages_in_order()
        assert [name for name in order if name not in ("away", "lonely", "wrong")] == ["first", "second", "third"]
        assert "inner" not in order

    def test_targets_bring_what_they_need(self, project):
        assert stages_in_order(["second"]) == ["first", "second"]

    def test_errors(self, project, tmp_path, monkeypatch, capsys):
        with pytest.raises(PipelineError, match="thrid: no such stage; there are away, first, lonely, second, third, wrong"):
            stages_in_order(["thrid"])
        monkeypatch.setattr(sys, "argv", ["pipeline", "thrid"])
        assert main() == 2
        assert capsys.readouterr().err.startswith("error: thrid: no such stage")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(PipelineError, match=r"dvc\.yaml: .*not inside of a DVC repository"):
            stages_in_order()
        make_project(tmp_path, "stages: {}\n")
        with pytest.raises(PipelineError, match=r"dvc\.yaml: no stages; run from the folder of the project"):
            stages_in_order()


class TestOutput:
    def lines(self, *chunks: bytes, seconds: float = 0.0) -> list[str]:
        out, into = os.pipe()
        times = iter(float(number) * seconds for number in range(1000))
        with os.fdopen(out, "rb") as stream:
            os.write(into, b"".join(chunks))
            os.close(into)
            return list(calm_lines(stream, lambda: next(times)))

    def test_of_a_bar_only_the_end_is_told(self):
        assert self.lines(b"a\n\n\rbar 1\rbar 2\rbar 3\nlast") == ["a", "bar 3", "last"]

    def test_of_a_slow_bar_a_line_now_and_then(self):
        told = self.lines(*(b"\rbar %d" % number for number in range(40)), b"\nend\n", seconds=process.PROGRESS_SECONDS / 10)
        assert told[-2:] == ["bar 39", "end"]
        assert 3 <= len(told) <= 7

    def test_windows_line_ends_and_foreign_bytes(self):
        assert self.lines(b"one\r\ntwo\xff\r\n") == ["one", "two�"]

    def test_a_failure_tells_its_last_lines(self):
        told: list[str] = []
        with pytest.raises(CommandError, match=r"exit code 3; it said at last:\nl1\nl2"):
            run_command(["sh", "-c", "echo l1; echo l2 >&2; exit 3"], told.append)
        assert told == ["l1", "l2"]

    def test_a_command_has_variables_of_its_own_and_holds_the_locks_that_it_is_given(self, tmp_path):
        told = []
        with (tmp_path / "lock").open("w") as lock:
            script = f"import os; print(os.environ['COLOUR']); os.write({lock.fileno()}, b'held')"
            run_command([sys.executable, "-c", script], told.append, environment={"COLOUR": "red"}, held=[lock.fileno()])
        assert told == ["red"]
        assert (tmp_path / "lock").read_text() == "held"

    def test_an_interrupt_ends_the_command_and_its_children(self, handles_interrupts):
        def interrupt(line: str) -> None:
            pids.append(int(line))
            raise KeyboardInterrupt

        pids: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            run_command([sys.executable, "-c", INTERRUPTED], interrupt)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pids[0]).wait(10)  # it has the signal too, and is left to be reaped by others
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)

    def test_a_command_that_does_not_heed_an_interrupt_is_killed(self, monkeypatch):
        def interrupt(line: str) -> None:
            pids.append(int(line))
            raise KeyboardInterrupt

        monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
        pids: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            run_command(["sh", "-c", "trap '' INT; echo $$; while true; do sleep 0.1; done"], interrupt)
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)


INTERRUPTED = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid)
child.wait()
"""


class TestFlow:
    def test_it_brings_the_pipeline_up_to_date(self, project, server, caplog):
        with caplog.at_level(logging.INFO, logger="prefect"):
            assert pipeline(targets=["third"]) == ["first", "second", "third"]
        told = [record.getMessage() for record in caplog.records]
        assert "first speaks" in told
        assert "bar 100%" in told
        assert "bar 50%" not in told
        counts = Artifact.get("first-counts")
        assert counts is not None
        assert counts.data == '[{"what": "done", "count": 5}, {"what": "dropped: too small", "count": 2}]'
        results = Artifact.get("results")
        assert results is not None
        assert results.data == "the end\n"
        assert Path("b.txt").read_text() == "a\n"

        caplog.clear()
        with caplog.at_level(logging.INFO, logger="prefect"):
            pipeline(targets=["third"])
        assert "first speaks" not in [record.getMessage() for record in caplog.records]
        again = Artifact.get("first-counts")
        assert again is not None
        assert again.description == "Samples of first; nothing changed, so these are of an earlier run"

    def test_a_stage_that_fails_fails_the_flow(self, project, server):
        with pytest.raises(CommandError, match=r"(?s)--single-item lonely: exit code .*lonely breaks"):
            pipeline(targets=["lonely"])

    def test_from_the_command_line_that_is_told_with_its_exit_code(self, project, server, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["pipeline", "lonely"])
        assert main() == 1
        assert "error: repro --single-item lonely: exit code" in capsys.readouterr().err

    def test_from_the_command_line_an_interrupt_is_told_with_its_exit_code(self, project, monkeypatch, capsys):
        def interrupt() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("flows.support.command._start_server", interrupt)
        monkeypatch.setattr(sys, "argv", ["pipeline"])
        assert main() == 130
        assert capsys.readouterr().err == "error: interrupted; what is whole is kept, the next run resumes from there\n"

    def test_a_server_that_does_not_start_is_told(self, project, monkeypatch):
        def fail(**_) -> None:
            raise RuntimeError("no server")

        monkeypatch.setattr("flows.support.command.get_client", fail)
        monkeypatch.setattr(sys, "argv", ["pipeline"])
        with pytest.raises(RuntimeError, match="no server"):
            main()

    def test_where_there_is_no_table_none_is_published(self, project, server, monkeypatch):
        def publish(**_) -> None:
            pytest.fail("a table was published")

        monkeypatch.setattr("flows.support.artifacts.TABLE", Path("nowhere.md"))
        monkeypatch.setattr("flows.support.artifacts.create_markdown_artifact", publish)
        assert pipeline(targets=["first"]) == ["first"]

    @pytest.mark.parametrize("content", ['{"done":', "[5]", "\udcff"])
    def test_damaged_counts_are_told_with_their_file(self, project, server, content):
        pipeline(targets=["first"])
        counts = Path("logs/first.json")
        before = counts.read_bytes()
        counts.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match=r"logs/first\.json: damaged; remove it"):
            pipeline(targets=["first"])
        counts.write_bytes(before)


@flow
def one_stage(stage: str) -> None:
    reproduce.with_options(retry_delay_seconds=0)(stage, force=False)


@flow
def push_alone() -> None:
    push_data()


class TestRetries:
    def test_what_can_pass_is_tried_again(self, project, server):
        one_stage("away")
        assert Path("runs/away").read_text() == "run\n" * 3

    def test_what_cannot_pass_is_not(self, project, server):
        with pytest.raises(CommandError, match="seed = -1"):
            one_stage("wrong")
        assert Path("runs/wrong").read_text() == "run\n"

    def test_locks_of_dvc_can_pass(self, tmp_path):
        with Lock(str(tmp_path / "lock")), pytest.raises(LockError) as repository:
            Lock(str(tmp_path / "lock")).lock()
        ask = {"tmp_dir": str(tmp_path), "fs": localfs, "read": [], "write": ["data"], "hardlink": False}
        with rwlock(cmd="dvc repro", **ask), pytest.raises(LockError) as files, rwlock(cmd="dvc push", **ask):
            pass
        for held in (repository, files):
            assert PASSING.search(str(held.value))

    def test_what_mlflow_says_when_it_is_away_can_pass(self, monkeypatch):
        from stages.tracking.store import connect

        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.raises(InputError) as away:
            connect()
        assert PASSING.search(str(away.value))
        monkeypatch.setattr(outbox, "WAIT_SECONDS", 0)
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "http://127.0.0.1:9")
        box = outbox.Outbox()
        box.put(lambda: MlflowClient("http://127.0.0.1:9").search_experiments(max_results=1))
        with pytest.raises(InputError, match="was not back") as gone:
            box.empty()
        assert PASSING.search(str(gone.value))

    @pytest.mark.parametrize("status", [401, 404])
    def test_what_mlflow_refuses_cannot(self, status):
        with pytest.raises(InputError, match=r"^tracking store refuses: ") as refused, store_errors_in_one_line():
            raise HTTPError("no", response=SimpleNamespace(status_code=status))
        assert not PASSING.search(str(refused.value))

    def test_a_server_that_refuses_from_the_start_cannot(self, monkeypatch):
        def refuse(_: str) -> None:
            raise MlflowException("not for you", error_code=PERMISSION_DENIED)

        monkeypatch.setattr(store, "_wait_for_answer", refuse)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
        with pytest.raises(InputError, match=r"^tracking server http://127\.0\.0\.1:9 refuses: not for you$") as refused:
            store.connect()
        assert not PASSING.search(str(refused.value))

    @pytest.mark.parametrize("status", [429, 502])
    def test_what_a_busy_server_says_can(self, status):
        with pytest.raises(InputError, match=r"^tracking store: ") as busy, store_errors_in_one_line():
            raise HTTPError("later", response=SimpleNamespace(status_code=status))
        assert PASSING.search(str(busy.value))

    def test_a_lock_that_a_kill_left_behind_is_none(self, project, server):
        killed = subprocess.Popen(["true"])
        killed.wait()
        left = {"pid": killed.pid, "cmd": "dvc repro"}
        held = json.dumps({"read": {}, "write": {str(project / "a.txt"): left}})
        (project / ".dvc/tmp").mkdir(exist_ok=True)
        (project / ".dvc/tmp/rwlock").write_text(held)
        assert pipeline(targets=["first"], force=True) == ["first"]


class TestPage:
    def test_progress_of_what_takes_long(self, server):
        @flow
        def long_and_short():
            for percent in (12, 70, 100):
                slow.follow(f"train: {percent:3}%|##   | {percent}/100 [00:10<00:10]")
            short.follow("caption: 100%|#####| 8/8 [00:01<00:00]")
            short.follow("epoch 12: 5 of 7 | 70%")

        slow, short = Progress("some_stage"), Progress("short")
        long_and_short()
        assert Artifact.get("some-stage-progress").data == 100
        assert Artifact.get("short-progress") is None

    def test_a_page_that_cannot_be_written_ends_nothing(self, server, monkeypatch, caplog):
        def fail(**_: object) -> None:
            raise httpx.ConnectError("nobody answers")

        @flow
        def follow() -> str:
            Progress("some_stage").follow("train:  12%|##   | 12/100 [00:10<00:10]")
            return "went on"

        monkeypatch.setattr("flows.support.artifacts.create_progress_artifact", fail)
        with caplog.at_level(logging.WARNING, logger="prefect"):
            assert follow() == "went on"
        assert any("progress is not shown: nobody answers" in record.getMessage() for record in caplog.records)

    def test_push_without_a_remote_says_so(self, project, server, caplog):
        with caplog.at_level(logging.INFO, logger="prefect"):
            push_alone()
        assert any("no remote is configured" in record.getMessage() for record in caplog.records)


def test_automations_are_set_up_once_whatever_how_often(server):
    for webhook in (None, "http://127.0.0.1:9/", "http://127.0.0.1:9/", None):
        set_up(tell_failures(webhook))
        set_up(end_silent_runs())
        with get_client(sync_client=True) as client:
            found = {each.name: each.actions[0].type for each in client.read_automations()}
            assert len(client.read_automations()) == 2
        assert found == {
            "iedit: tell failures": "call-webhook" if webhook else "do-nothing",
            "iedit: end silent runs": "change-flow-run-state",
        }


def start_flow(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the flow of a project in a session of its own, as a terminal would."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect")} | environment
    environment.pop("PREFECT_API_URL", None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-m", "flows.pipeline"]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def test_ctrl_c_ends_the_flow_its_stage_and_its_server_in_one_line(tmp_path, handles_interrupts):
    """A terminal interrupts all that runs in it: the flow, and the server that Prefect started for it."""
    make_project(tmp_path, "stages:\n  slow:\n    cmd: echo slow is $$ && exec sleep 100\n")
    with start_flow(tmp_path) as flow:
        lines = []
        for line in flow.stdout:
            lines.append(line)
            if "- slow is " in line:
                pid, before = int(line.split()[-1]), len(lines)
                os.killpg(flow.pid, signal.SIGINT)
    assert flow.returncode == 130, lines
    assert [line.partition(";")[0] for line in lines[before:]] == ["error: interrupted"]
    for ended in (pid, -flow.pid):
        with pytest.raises(ProcessLookupError):
            os.kill(ended, 0)


STUCK_SERVER = """
import sys, time
if "uvicorn" in sys.orig_argv:
    print("the server starts", flush=True)
    time.sleep(1000)
"""


def test_ctrl_c_ends_the_flow_while_its_server_starts(tmp_path, handles_interrupts):
    make_project(tmp_path, "stages:\n  first:\n    cmd: echo first\n")
    (tmp_path / "sitecustomize.py").write_text(STUCK_SERVER)  # Python runs it first of all
    with start_flow(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}") as flow:
        lines = []
        for line in flow.stdout:
            lines.append(line)
            if line == "the server starts\n":
                before = len(lines)
                os.killpg(flow.pid, signal.SIGINT)
    assert flow.returncode == 130, lines
    assert [line.partition(";")[0] for line in lines[before:]] == ["error: interrupted"]
    with pytest.raises(ProcessLookupError):
        os.kill(-flow.pid, 0)
