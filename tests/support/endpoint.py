"""An OpenAI-compatible endpoint on loopback, with the answers that a test gives it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Endpoint:
    """What the endpoint answers, and what it was asked."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=list)  # statuses and bodies in turn; the last one stays
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def completion(words: str) -> tuple[int, bytes]:
    """Return an answer in which the model says some words."""
    return 200, json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": words}}]}).encode()


@contextmanager
def serving(*answers: tuple[int, bytes], drip: float = 0.0) -> Iterator[Endpoint]:
    """Serve these answers at ``/v1/chat/completions``; with ``drip``, byte by byte with so many seconds between."""
    endpoint = Endpoint(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.asked.append(json.loads(body))
            endpoint.headers.append(dict(self.headers))
            status, answer = endpoint.answers.pop(0) if len(endpoint.answers) > 1 else endpoint.answers[0]
            self.send_response(status if self.path == "/v1/chat/completions" else 404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if not drip:
                self.wfile.write(answer)
                return
            with suppress(ConnectionError):  # the reader loses patience
                for byte in answer:
                    self.wfile.write(bytes([byte]))
                    time.sleep(drip)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
