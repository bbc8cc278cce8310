"""A bound on the work that a served model takes on at once, whoever asks: MLflow's server has none."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock


class TooMuchError(Exception):
    """There is no room for a request beside those at work; the message is one line."""


class InFlight:
    """Counts the work of the requests in hand, by kind, and admits no more than a bound of each."""

    def __init__(self, bounds: Mapping[str, int]) -> None:
        """Start with nothing in hand.

        Args:
            bounds: kind of work, in the plural → how much of it may be in hand. One request of that size must always fit.
        """
        self._bounds = bounds
        self._held: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def hold(self, amounts: Mapping[str, int]) -> Iterator[None]:
        """Count the work of a request as in hand within the block.

        Raises:
            TooMuchError: with it, there would be more in hand than a bound.
        """
        with self._lock:
            for kind, amount in amounts.items():
                if self._held[kind] + amount > self._bounds[kind]:
                    raise TooMuchError(
                        f"busy: {amount:,} {kind} more than the {self._held[kind]:,} in hand would exceed"
                        f" {self._bounds[kind]:,}: try again later"
                    )
            self._held.update(amounts)
        try:
            yield
        finally:
            with self._lock:
                self._held.subtract(amounts)
