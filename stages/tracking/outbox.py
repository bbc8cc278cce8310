"""What a training has to tell the tracking server, kept in its order while the server is away."""

import sys
import time
from collections import deque
from collections.abc import Callable

import mlflow
from tqdm import tqdm

from stages.core.errors import InputError
from stages.tracking.errors import STORE_ERRORS, is_refused, without_credentials
from stages.tracking.store import without_retries

TIMEOUT = 30  # seconds for one request
RETRY_SECONDS = 30  # from the first attempt that finds the server away to the next
MAX_RETRY_SECONDS = 600  # the pause doubles up to this: each attempt at a server that hangs holds the training for TIMEOUT
WAIT_SECONDS = 600  # for a server that is away when the training has ended


class Outbox:
    """Sends what is put into it, at once where that is possible."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._tried: float | None = None  # when the server was found to be away
        self._pause: float = RETRY_SECONDS  # until the next attempt

    def put(self, send: Callable[[], object]) -> None:
        """Send something after all that waits already, now or when the server is back."""
        self._waiting.append(send)
        if self._tried is None or time.monotonic() - self._tried > self._pause:
            self._try()

    def empty(self) -> None:
        """Send all that waits; a server that is away is waited for.

        Raises:
            InputError: it did not come back within WAIT_SECONDS.
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
            f"the tracking server was not back within {WAIT_SECONDS} seconds; what is done is whole, and running the stage"
            " again sends the rest"
        )

    def _try(self) -> bool:
        """Send what waits and tell whether nothing is left."""
        try:
            with without_retries(TIMEOUT):
                while self._waiting:
                    self._waiting[0]()
                    self._waiting.popleft()
        except STORE_ERRORS as error:
            if is_refused(error) or not mlflow.get_tracking_uri().startswith("http"):
                raise  # what was sent is at fault, or the project's own file
            if self._tried is None:
                server = without_credentials(mlflow.get_tracking_uri())
                _tell(f"the tracking server is away: {server}; the training goes on, what it has to log is kept")
                self._pause = RETRY_SECONDS
            else:
                self._pause = min(2 * self._pause, MAX_RETRY_SECONDS)
            self._tried = time.monotonic()
            return False
        if self._tried is not None:
            _tell("the tracking server is back and has all that was kept")
        self._tried = None
        return True


def _tell(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
