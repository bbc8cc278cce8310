"""The check of a night's data: logged, compared, shown, and stopped in one line."""

import pytest

from flows.support import nights
from stages.core.errors import InputError
from stages.core.params_file import read_params
from stages.report import night
from stages.tracking.nights import read_nights
from tests.support import ROOT

USUAL = {"counts/source": 6000.0, "counts/refused": 60.0, "shares/segment/dropped": 0.2, "scores/directional/p50": 0.8}
ODD = USUAL | {"shares/segment/dropped": 0.5}


@pytest.fixture
def check(client, without_engine, monkeypatch):
    """A function that checks a night with these data, and returns the table that it shows."""
    without_engine(nights, "check_data")
    monkeypatch.setattr(nights, "read_params", lambda: read_params(ROOT / "params.yaml"))

    def check(data: dict[str, float], *, accept: bool = False) -> list[dict]:
        shown: list[dict] = []
        monkeypatch.setattr(night, "measure_night", lambda: data)
        monkeypatch.setattr(nights, "create_table_artifact", lambda key, table, **_: shown.extend(table))
        try:
            nights.check_data(accept=accept)
        finally:
            check.shown = shown
        return shown

    return check


def test_a_night_that_drifted_is_stopped_shown_and_no_norm(check, client):
    for _ in range(3):
        check(USUAL)
    for _ in range(2):
        with pytest.raises(InputError) as stopped:
            check(ODD)
    line = "drift.max_difference = 0.1: shares/segment/dropped is 0.5, the median of 3 nights is 0.2"
    assert str(stopped.value) == f"{line}; nothing was trained; the run's parameter accept_data takes such data as the norm"
    assert [row["stopped"] for row in check.shown] == [line, line, "", "", ""]
    assert (check.shown[0]["without mask"], check.shown[0]["direction"], check.shown[0]["words"]) == (0.5, 0.8, "")
    assert [logged.stopped for logged in read_nights(client, 2)] == [line, line]


def test_data_that_were_accepted_are_the_norm(check):
    for _ in range(3):
        check(USUAL)
    check(ODD, accept=True)
    for _ in range(3):
        check(ODD)
    with pytest.raises(InputError, match=r"0\.2, the median of 4 nights is 0\.5"):
        check(USUAL)


def test_the_table_shows_the_last_thirty_nights(check, monkeypatch):
    monkeypatch.setattr(nights, "SHOWN_NIGHTS", 3)
    for number in range(5):
        check(USUAL | {"counts/source": 6000.0 + number})
    assert [row["images"] for row in check.shown] == [6004, 6003, 6002]
