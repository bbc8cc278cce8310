"""A queue of requests to the tracking server that survives the server going away during a training."""

import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import mlflow
from tqdm import tqdm

from stages.core.errors import InputError
from stages.tracking.errors import STORE_ERRORS, is_refused, without_credentials
from stages.tracking.full_server import full_server
from stages.tracking.store import without_retries

TIMEOUT = 30  # seconds for one request
RETRY_SECONDS = 30  # from the first failed attempt to the next
MAX_RETRY_SECONDS = 600  # the pause doubles up to this; every attempt at a hanging server blocks the training for TIMEOUT
WAIT_SECONDS = 600  # how long the end of a training waits for a server that is away


class Outbox:
    """Sends requests in the order in which they were put in, each at once if the server answers."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._tried: float | None = None  # when the last attempt failed; None while the server answers
        self._pause: float = RETRY_SECONDS  # until the next attempt

    def put(self, send: Callable[[], object]) -> None:
        """Send a request after all waiting ones, now or when the server is back."""
        self._waiting.append(send)
        if self._tried is None or time.monotonic() - self._tried > self._pause:
            self._try()

    def empty(self) -> None:
        """Send all waiting requests, waiting for a server that is away.

        Raises:
            InputError: the server did not come back within WAIT_SECONDS.
        """
        if self._try():
            return
        with tqdm(total=WAIT_SECONDS, desc="waiting for the tracking server", unit="s", mininterval=1) as bar:
            while bar.n < WAIT_SECONDS:
                step = min(RETRY_SECONDS, WAIT_SECONDS - bar.n)
                time.sleep(step)
                bar.update(step)
                if self._try():
                    return
        raise InputError(
            f"the tracking server was not back within {WAIT_SECONDS} seconds; the model is complete, and running the stage"
            " again sends the rest"
        )

    def _try(self) -> bool:
        """Send the waiting requests; return whether all of them went out."""
        try:
            with without_retries(TIMEOUT):
                while self._waiting:
                    self._waiting[0]()
                    self._waiting.popleft()
        except STORE_ERRORS as error:
            if is_refused(error) or not mlflow.get_tracking_uri().startswith("http"):
                self._waiting.popleft()  # it would fail again, and hold up the others
                raise  # the request is at fault, or the project's own file
            if self._tried is None:
                server = without_credentials(mlflow.get_tracking_uri())
                state = "away" if full_server(error) is None else "full"
                _print(f"the tracking server is {state}: {server}; the training continues, and its logs are kept")
                self._pause = RETRY_SECONDS
            else:
                self._pause = min(2 * self._pause, MAX_RETRY_SECONDS)
            self._tried = time.monotonic()
            return False
        except OSError:
            self._waiting.popleft()
            raise
        if self._tried is not None:
            _print("the tracking server is back and has received them")
        self._tried = None
        return True


class BesideTraining:
    """An outbox in a thread of its own, so that no step waits for a request, or for a checkpoint of gigabytes.

    What the store refuses is raised by this call or a later one.
    """

    def __init__(self) -> None:
        self._outbox = Outbox()
        self._thread = ThreadPoolExecutor(1, "outbox")
        self._sent: deque[Future[None]] = deque()

    def put(self, send: Callable[[], object]) -> None:
        """Send a request after all earlier ones, and return at once."""
        self._sent.append(self._thread.submit(self._outbox.put, send))
        while self._sent and self._sent[0].done():
            self._sent.popleft().result()

    def settle(self) -> None:
        """Wait until each request was sent, or is kept for a server that is away."""
        while self._sent:
            self._sent.popleft().result()

    def empty(self) -> None:
        """Send all waiting requests, waiting for a server that is away.

        Raises:
            InputError: the server did not come back within WAIT_SECONDS.
        """
        self.settle()
        self._outbox.empty()


def _print(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
