"""What the service promises under load, held against the figures of a study."""

from collections.abc import Iterator
from typing import Any

LEAST_GAIN = 1.5  # edits a second of many clients by those of one
MOST_HEALTH = 0.1  # seconds of the 99th percentile of /health
MOST_LARGE = 1200  # megabytes that large photographs at once add to the service
MOST_GROWTH = 0.05  # of memory, from the first tenth of many edits to their end


def broken_promises(found: dict[str, Any]) -> list[str]:
    """Return what the service did not keep, each with the figure and the bound.

    Args:
        found: the figures, as :func:`stages.studies.load.measure` returns them.
    """
    return list(_broken(found))


def _broken(found: dict[str, Any]) -> Iterator[str]:
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
    answers = [each["statuses"] for each in (*rounds, memory, found["large"], found["fuzz"])]
    if failed := sum(statuses.get("500", 0) for statuses in answers):
        yield f"{failed} answers of 500, must be none"
