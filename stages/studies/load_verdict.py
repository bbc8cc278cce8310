"""What the service promises under load, held against the figures of a study."""

from collections.abc import Iterator
from typing import Any

LEAST_GAIN = 1.5  # edits a second of many clients by those of one
MOST_HEALTH = 0.1  # seconds of the 99th percentile of /health
MOST_LARGE = 1200  # megabytes that large photographs at once add to the service
MOST_GROWTH = 0.05  # of memory, from the first tenth of many edits to their end
UNANSWERED = ("500", "503", "504")  # statuses that no hostile request may bring about


def broken_promises(found: dict[str, Any]) -> list[str]:
    """Return what the service did not keep, each with the figure and the bound.

    Args:
        found: the figures, as :func:`stages.studies.load.measure` returns them.
    """
    return [*_slow_or_large(found), *_unanswered(found)]


def counts(statuses: dict[str, int]) -> str:
    """Return how often each status answered, as text."""
    return ", ".join(f"{status} × {count:,}" for status, count in sorted(statuses.items())) or "none"


def _slow_or_large(found: dict[str, Any]) -> Iterator[str]:
    rounds, memory = found["rounds"], found["memory"]
    if (gain := found["throughput_gain"]) < LEAST_GAIN:
        yield f"many clients get {gain:.2f} times the edits a second of one, must be at least {LEAST_GAIN:g}"
    for each in rounds:
        if (seconds := each["health_p99"]) > MOST_HEALTH:
            clients = each["clients"]
            yield f"p99 of /health with {clients} clients is {seconds:.3f} s, must be at most {MOST_HEALTH:.3f} s"
    if (growth := memory["end"] / memory["start"] - 1) > MOST_GROWTH:
        edits = sum(memory["statuses"].values())
        yield f"memory grows by {growth:.1%} over {edits:,} edits, must be at most {MOST_GROWTH:.0%}"
    if (added := found["large"]["peak"] - memory["end"]) > MOST_LARGE:
        yield f"large photographs take {added:,.0f} MB, must be at most {MOST_LARGE:,}"


def _unanswered(found: dict[str, Any]) -> Iterator[str]:
    """Yield which requests were not done: a service that turns everything away is quick and small."""
    edits = {f"of {each['clients']} clients": each["statuses"] for each in found["rounds"]}
    edits["between which memory is compared"] = found["memory"]["statuses"]
    for which, statuses in edits.items():
        if statuses.keys() != {"200"}:
            yield f"edits {which}: answers {counts(statuses)}, must all be 200"
    large, hostile = found["large"]["statuses"], found["fuzz"]["statuses"]
    if "200" not in large or "500" in large:
        yield f"large photographs: answers {counts(large)}, must be 200 at least once and never 500"
    if not hostile.keys().isdisjoint(UNANSWERED):
        yield f"hostile requests: answers {counts(hostile)}, must be none of {', '.join(UNANSWERED)}"
