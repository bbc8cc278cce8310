"""A server whose disk is full is named as such; its answers are those of MLflow's own server on a full file system."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

from stages.core.errors import InputError
from stages.core.files import NoRoomError
from stages.tracking import store
from stages.tracking.errors import store_errors_in_one_line

FULL = {
    "error_code": "TEMPORARILY_UNAVAILABLE",
    "message": "(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT …",
}
BROKEN = {"error_code": "INTERNAL_ERROR", "message": "something else"}
EXPERIMENT = {"experiment": {"experiment_id": "7", "name": "iedit", "lifecycle_stage": "active"}}


class Server(BaseHTTPRequestHandler):
    """Reads its database, and fails to write."""

    answer = FULL

    def do_GET(self) -> None:
        self.reply(200, EXPERIMENT)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        reads = self.path.endswith("/search")
        self.reply(200 if reads else 503, {} if reads else self.answer)

    def do_PUT(self) -> None:
        """A file: the server says no more."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(500, "Internal Server Error")

    def reply(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address
        server.shutdown()


def test_a_full_server_is_named_at_the_first_connection(address):
    with pytest.raises(NoRoomError, match=rf"^tracking server {address}: database or disk is full on the server$"):
        store.connect()


def test_a_server_that_cannot_keep_a_file_is_named(address, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    repository = HttpArtifactRepository(f"{address}/api/2.0/mlflow-artifacts/artifacts")
    expected = pytest.raises(NoRoomError, match=r"^tracking store: database or disk is full on the server$")
    with expected, store.without_retries(5), store_errors_in_one_line():
        repository.log_artifact(str(tmp_path / "a.txt"))


def test_any_other_failure_stays_what_it_is(address, monkeypatch):
    monkeypatch.setattr(Server, "answer", BROKEN)
    with pytest.raises(InputError, match="too many 503 error responses"):
        store.connect()


def test_a_server_that_is_gone_is_not_full(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="too many 500"), store_errors_in_one_line():
        raise MlflowException("too many 500 error responses")
