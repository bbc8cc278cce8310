"""Which requests are let in: the queue is bounded, and so are the pixels in flight and what one client may send."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stages.core.errors import InputError
from stages.editing.settings import check_images, check_steps
from stages.serving.calls import BusyError, ModelUnavailableError

REMEMBERED = 10_000  # clients; those unseen for longest are forgotten
ANSWERING = 10.0  # seconds beyond the deadline that answers may take when the service ends
LONGEST_WAIT = 30.0  # seconds; the most that a client is asked to wait before it tries again


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The bounds of the service."""

    requests: int = 64  # in flight: at work, or waiting for the model
    pixels: int = 150_000_000  # in flight, of the pictures sent and the results; of a file that is larger, its bytes
    per_minute: int = 120  # requests of one client; 0: any number
    seconds: float = 120  # until a request is given up

    def __post_init__(self) -> None:
        """Raise InputError if a limit is out of range."""
        if self.per_minute < 0:
            raise InputError(f"requests per minute = {self.per_minute}: must be at least 0")
        if not 0 < self.seconds < math.inf:
            raise InputError(f"deadline = {self.seconds:g}: must be finite and above 0 seconds")


@dataclass
class _Allowance:
    """The requests that a client may still send: refilled steadily, up to those of a minute."""

    left: float
    at: float


@dataclass(eq=False)
class Admission:
    """Counts what is in flight, and refuses what is too much."""

    limits: Limits = field(default_factory=Limits)
    requests: int = 0  # in flight
    answers: int = 0  # on their way to clients
    pixels: int = 0  # in flight
    is_closed: bool = False  # the service is shutting down
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _ends: deque[float] = field(default_factory=lambda: deque(maxlen=16))  # when the last requests ended
    _allowances: OrderedDict[str, _Allowance] = field(default_factory=OrderedDict)

    def check(self, *, pixels: int, images: int, steps: int) -> None:
        """Raise InputError for a request that is too large whatever else is in flight.

        Args:
            pixels: the number of pixels of the uploaded picture.
            images: how many results it asks for.
            steps: the length of the noise schedule, in steps; the same for each result.
        """
        check_steps(1, check_images(images), steps)
        if _in_all(pixels, images) > self.limits.pixels:
            most = self.limits.pixels // (1 + images)
            raise InputError(f"the image has {pixels:,} pixels: with {images} results, {most:,} are allowed")

    def check_open(self) -> None:
        """Raise the error of a request that would be turned away now, whatever it wants.

        Raises:
            BusyError: too much is in flight.
            ModelUnavailableError: the service is shutting down.
        """
        if self.is_closed:
            raise ModelUnavailableError("the service is shutting down", retry_after=LONGEST_WAIT)
        if self.requests >= self.limits.requests:
            raise BusyError(f"the service is busy with {self.requests} requests", self._wait())

    def charge(self, client: str, share: float = 1) -> None:
        """Count a request, or a share of one, for its client, before any work is done for it and whatever becomes of it.

        Those that :meth:`check_open` turned away before do not count.

        Raises:
            BusyError: the client has sent too much; then the request does not count.
        """
        allowance = self._allowance(client)
        if self.limits.per_minute and allowance.left < share:
            wait = 60 * (share - allowance.left) / self.limits.per_minute
            raise BusyError(f"allowed are {self.limits.per_minute} requests a minute of one client", wait)
        allowance.left -= share

    @contextmanager
    def admit(self, *, pixels: int = 0, images: int = 0, file_bytes: int = 0) -> Iterator[None]:
        """Let a request in for the length of the block.

        Args:
            pixels: the number of pixels of the uploaded picture.
            images: how many results it asks for.
            file_bytes: the size of what was uploaded, which may be more than its pixels: it counts if it is more than all.

        Raises:
            BusyError: too much is in flight.
            ModelUnavailableError: the service is shutting down.
        """
        total = max(_in_all(pixels, images), file_bytes)
        self.check_open()
        if self.pixels + total > self.limits.pixels:
            raise BusyError(f"the service is busy with {self.pixels:,} pixels", self._wait())
        self.requests += 1
        self.pixels += total
        self._idle.clear()
        try:
            yield
        finally:
            self.requests -= 1
            self.pixels -= total
            self._ends.append(time.monotonic())
            self._look_if_idle()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Let :meth:`close` wait for the end of the block, in which a request is answered and the answer sent."""
        self.answers += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.answers -= 1
            self._look_if_idle()

    async def close(self) -> None:
        """Let no further request in, and wait until those in flight are answered, at most until all are given up."""
        self.is_closed = True
        if self.requests or self.answers:
            await asyncio.wait([asyncio.create_task(self._idle.wait())], timeout=self.limits.seconds + ANSWERING)

    def _look_if_idle(self) -> None:
        if self.requests == self.answers == 0:
            self._idle.set()

    def _wait(self) -> float:
        """Return the seconds until half of the queue will be done, at the pace of the last requests."""
        if len(self._ends) < 2:
            return 1
        pace = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return min(max(1, math.ceil(pace * self.requests / 2)), LONGEST_WAIT)

    def _allowance(self, client: str) -> _Allowance:
        """Return the allowance of a client as it is now."""
        now = time.monotonic()
        allowance = self._allowances.setdefault(client, _Allowance(left=self.limits.per_minute, at=now))
        self._allowances.move_to_end(client)
        while len(self._allowances) > REMEMBERED:
            self._allowances.popitem(last=False)
        refilled = allowance.left + (now - allowance.at) * self.limits.per_minute / 60
        allowance.left, allowance.at = min(self.limits.per_minute, refilled), now
        return allowance


def _in_all(pixels: int, images: int) -> int:
    """Return the pixels of a picture and its results."""
    return pixels * (1 + images)
