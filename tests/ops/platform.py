"""The real servers and a real worker, started as README says, on a small copy of the project."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.support.small_project import environment_of

PATIENCE = 3600  # seconds until a test gives up; a slow and busy machine needs half an hour
ANSWER = 300  # seconds in which a busy server answers, acts on an event, or stops
Found = TypeVar("Found")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Serve a webhook during the block; yield its address, and the texts of the messages that have come."""
    messages: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", messages
        finally:
            server.shutdown()


def until(look: Callable[[], Found], seconds: float = PATIENCE) -> Found:
    """Call ``look`` until it finds something, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise TimeoutError(f"{look}: nothing within {seconds} seconds")


def end(process: subprocess.Popen[bytes], signum: int = signal.SIGKILL) -> None:
    """Send a signal to a process and all its children, whatever their process groups.

    Those that are left after a minute are killed, as systemd does it.
    """
    started = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in started:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signum)
    for left in psutil.wait_procs(started, 60)[1]:
        with suppress(psutil.NoSuchProcess):
            left.kill()
    process.wait()


class Platform:
    """A project with its servers and workers, each known by the name of its make target."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.prefect, self.mlflow = (f"http://127.0.0.1:{port}" for port in (free_port(), free_port()))
        self.environment = environment_of(project) | {
            "PREFECT_PORT": self.prefect.rpartition(":")[2],
            "MLFLOW_PORT": self.mlflow.rpartition(":")[2],
            "SERVERS": str(project.parent / "all servers"),
        }
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            self.environment.pop(name, None)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        installed = project / ".venv" / "installed"  # use the packages that run the tests
        installed.parent.mkdir()
        installed.touch()

    def make(self, target: str, **variables: str) -> str:
        """Run a make target to its end."""
        done = subprocess.run(
            ["make", target], cwd=self.project, env=self.environment | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def start(self, target: str) -> None:
        """Start a make target that runs for ever; its output goes to logs/TARGET.log."""
        (self.project / "logs").mkdir(exist_ok=True)
        with (self.project / "logs" / f"{target}.log").open("ab") as log:
            self._running[target] = subprocess.Popen(
                ["make", target], cwd=self.project, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        if target in ("server", "prefect-server"):
            until(lambda: self._is_up(target, f"{self.prefect}/api/health"))
        if target in ("server", "mlflow-server"):
            until(lambda: self._is_up(target, f"{self.mlflow}/health"))

    def stop(self, target: str, signum: int = signal.SIGTERM) -> None:
        """End the process group of a make target."""
        process = self._running.pop(target)
        os.killpg(process.pid, signum)
        until(lambda: process.poll() is not None and not _alive(process.pid), ANSWER)

    def kill(self, target: str, signum: int = signal.SIGKILL) -> None:
        """Send a signal to the processes of a make target, see :func:`end`."""
        end(self._running.pop(target), signum)

    def stop_all(self) -> None:
        for process in self.processes():
            process.kill()
        for process in self._running.values():
            process.wait()

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Return the processes in the project's folder with these words in their command lines."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.project) and words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:  # it has just ended, or belongs to another user
                continue
        return found

    def _is_up(self, target: str, address: str) -> bool:
        assert self._running[target].poll() is None, (self.project / "logs" / f"{target}.log").read_text()[-3000:]
        try:
            return httpx.get(address, timeout=5).is_success
        except httpx.HTTPError:
            return False

    def ask(self, path: str, question: Any = None, method: str = "POST") -> Any:
        """Ask the API of the Prefect server, and again while its SQLite file is locked, as Prefect's own client does."""

        def answered() -> httpx.Response | None:
            answer = httpx.request(method, f"{self.prefect}/api/{path}", json=question, timeout=ANSWER)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        answer = until(answered, ANSWER)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def all_of(self, kind: str, run: str | None = None) -> list[dict[str, Any]]:
        """Return all logs, artifacts, task_runs … of a flow run, or of all flow runs."""
        question: dict[str, Any] = {"limit": 200, "offset": 0}
        if run is not None:
            question[kind] = {"flow_run_id": {"any_": [run]}}
        found: list[dict[str, Any]] = []
        while page := self.ask(f"{kind}/filter", question | {"offset": len(found)}):
            found += page
        return found

    def deployment(self, name: str) -> dict[str, Any]:
        return self.ask(f"deployments/name/{name}", method="GET")

    def order(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run of a deployment, and return its id."""
        place = f"deployments/{self.deployment(deployment)['id']}/create_flow_run"
        return str(self.ask(place, {"parameters": parameters})["id"])

    def state(self, run: str) -> str:
        try:
            return str(self.ask(f"flow_runs/{run}", method="GET")["state"]["name"])
        except httpx.TransportError:  # the server is away
            return ""

    def end_of(self, run: str) -> str:
        """Wait until a run has ended, and return the name of its last state."""
        return self.reach(run, *ENDS)

    def reach(self, run: str, *names: str) -> str:
        """Wait until a run is in one of some states, and return its name."""
        return until(lambda: state if (state := self.state(run)) in names else "")

    def log(self, run: str) -> str:
        return "\n".join(line["message"] for line in self.all_of("logs", run))

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        return {artifact["key"]: artifact for artifact in self.all_of("artifacts", run)}


ENDS = ("Completed", "Failed", "Crashed", "TimedOut", "Cancelled")


@contextmanager
def started(project: Path, servers: str = "server") -> Iterator[Platform]:
    """Yield a project with running servers, deployments and a worker: the three commands of README.

    Args:
        project: the folder to run them in.
        servers: the target of make that starts the servers; ``prefect-server`` for one that is stopped alone.
    """
    platform = Platform(project)
    try:
        platform.start(servers)
        platform.make("deploy")
        platform.start("worker")
        yield platform
    finally:
        platform.stop_all()


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
