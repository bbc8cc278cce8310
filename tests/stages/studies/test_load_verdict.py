"""The verdict of the study of the service under load: each bound, kept and broken."""

import copy
import json
from typing import Any

import pytest

from stages.studies import load
from stages.studies.load_verdict import broken_promises
from tests.support import ROOT

KEPT: dict[str, Any] = {
    "rounds": [
        {"clients": 1, "per_second": 2.0, "health_p99": 0.004, "statuses": {"200": 9}},
        {"clients": 64, "per_second": 3.0, "health_p99": 0.1, "statuses": {"200": 9}},
    ],
    "throughput_gain": 1.5,
    "memory": {"start": 1000.0, "end": 1049.9, "statuses": {"200": 2000}},
    "large": {"peak": 2249.0, "statuses": {"200": 2, "429": 10}},
    "fuzz": {"statuses": {"200": 1, "400": 1999}},
}
BROKEN = [
    (("throughput_gain",), 1.49, "many clients get 1.49 times the edits a second of one, must be at least 1.5"),
    (("rounds", 1, "health_p99"), 0.101, "p99 of /health with 64 clients is 0.101 s, must be at most 0.100 s"),
    (("memory", "end"), 1060.0, "memory grows by 6.0% over 2,000 edits, must be at most 5%"),
    (("large", "peak"), 3049.9, "large photographs take 2,000 MB, must be at most 1,200"),
    (("rounds", 1, "statuses"), {"200": 3, "504": 189}, "edits of 64 clients: answers 200 × 3, 504 × 189, must all be 200"),
    (("rounds", 0, "statuses", "500"), 2, "edits of 1 clients: answers 200 × 9, 500 × 2, must all be 200"),
    (("memory", "statuses"), {"503": 2000}, "edits between which memory is compared: answers 503 × 2,000, must all be 200"),
    (("memory", "statuses"), {}, "edits between which memory is compared: answers none, must all be 200"),
    (
        ("large", "statuses"),
        {"429": 12},
        "large photographs: answers 429 × 12, must be 200 at least once and never 500",
    ),
    (
        ("large", "statuses", "500"),
        1,
        "large photographs: answers 200 × 2, 429 × 10, 500 × 1, must be 200 at least once and never 500",
    ),
    (("fuzz", "statuses"), {"500": 1}, "hostile requests: answers 500 × 1, must be none of 500, 503, 504"),
    (("fuzz", "statuses"), {"503": 2000}, "hostile requests: answers 503 × 2,000, must be none of 500, 503, 504"),
    (("fuzz", "statuses"), {"504": 1}, "hostile requests: answers 504 × 1, must be none of 500, 503, 504"),
]


def changed(place: tuple[str | int, ...], value: object) -> dict[str, Any]:
    found = part = copy.deepcopy(KEPT)
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    return found


def test_figures_on_the_bounds_are_kept():
    assert broken_promises(KEPT) == []


def test_the_committed_figures_keep_every_bound():
    assert broken_promises(json.loads((ROOT / "reports" / "serving.json").read_text())) == []


@pytest.mark.parametrize(("place", "value", "line"), BROKEN)
def test_what_is_not_kept_is_named_with_its_bound(place, value, line):
    assert broken_promises(changed(place, value)) == [line]


def test_a_broken_promise_ends_the_study_with_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["load"])
    monkeypatch.setattr(load, "study", lambda *_: changed(("throughput_gain",), 1.0) | {"fuzz": {"statuses": {"500": 2}}})
    with pytest.raises(SystemExit) as ended:
        load.main()
    assert ended.value.code.startswith("error: iedit serve: many clients get 1.00 times")
    assert ended.value.code.endswith("; hostile requests: answers 500 × 2, must be none of 500, 503, 504")
    assert "\n" not in ended.value.code


def test_kept_promises_end_it_well(monkeypatch):
    monkeypatch.setattr("sys.argv", ["load"])
    monkeypatch.setattr(load, "study", lambda *_: KEPT)
    load.main()
