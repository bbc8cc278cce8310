"""A web server on this machine whose answers are good, bad and hostile."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

Answer = Callable[["Handler"], None]


class Web:
    """The running server: its address, what it answers by path, and how often each path was asked for."""

    def __init__(self, port: int, answers: dict[str, Answer]) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.port = port
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.stopped = Event()  # slow answers end with the server


class Handler(BaseHTTPRequestHandler):
    """Answers from the table of the server."""

    web: Web

    def do_GET(self) -> None:
        self.web.asked[self.path] += 1
        answer = self.web.answers.get(self.path)
        try:
            if answer is None:
                self.send_error(404)
            else:
                answer(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has had enough

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def body(data: bytes, *, kind: str = "image/png", length: int | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Return an answer of these bytes; ``length`` is what it says of their number."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def redirect(to: str) -> Answer:
    """Return an answer that leads elsewhere."""

    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


def failing_first(times: int, then: Answer) -> Answer:
    """Return an answer that fails ``times`` times."""
    left = [times]

    def answer(handler: Handler) -> None:
        if left[0] > 0:
            left[0] -= 1
            handler.send_error(503)
        else:
            then(handler)

    return answer


def dripping(data: bytes, pause: float) -> Answer:
    """Return an answer that sends a byte at a time, and never so slowly that a read of the socket times out."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for byte in data:
            if handler.web.stopped.wait(pause):
                return
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()

    return answer


def dripping_headers(pause: float) -> Answer:
    """Return an answer whose headers come a byte at a time."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.flush_headers()
        for byte in b"X-Slow: " + b"x" * 40 + b"\r\nContent-Length: 1\r\n\r\nx":
            if handler.web.stopped.wait(pause):
                return
            handler.wfile.write(bytes([byte]))

    return answer


def silent(handler: Handler) -> None:
    """Never answer."""
    handler.web.stopped.wait()


def late(seconds: float, then: Answer) -> Answer:
    """Return an answer that comes late."""

    def answer(handler: Handler) -> None:
        time.sleep(seconds)
        then(handler)

    return answer


@contextmanager
def serving(answers: dict[str, Answer]) -> Iterator[Web]:
    """Run a server on a free port of this machine; ``answers`` may grow meanwhile."""
    handler = type("Handler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        handler.web = Web(server.server_port, answers)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield handler.web
        finally:
            handler.web.stopped.set()
            server.shutdown()
            thread.join()
