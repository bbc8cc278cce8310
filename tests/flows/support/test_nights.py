"""The check of a night's data: logged, compared, shown, and stopped in one line."""

from types import SimpleNamespace
from uuid import UUID

import pytest

from flows.support import nights
from stages.core.errors import InputError
from stages.core.params_file import read_params
from stages.report import night, seen
from stages.report.seen import Seen
from stages.tracking.nights import read_nights
from tests.support import ROOT

USUAL = {"counts/source": 6000.0, "counts/refused": 60.0, "shares/segment/dropped": 0.2, "scores/directional/p50": 0.8}
TABLE = UUID(int=7)
ODD = USUAL | {"shares/segment/dropped": 0.5}


@pytest.fixture
def check(client, without_engine, monkeypatch):
    """A function that checks a night with these data, and returns the table that it shows."""
    without_engine(nights, "check_data")
    monkeypatch.setattr(seen, "look", lambda: check.seen)
    monkeypatch.setattr(nights, "read_params", lambda: read_params(ROOT / "params.yaml"))

    def check(data: dict[str, float], *, accept: bool = False) -> list[dict]:
        shown: list[dict] = []

        def show(key: str, table: list[dict], **_: object) -> UUID:
            shown.extend(table)
            return TABLE

        monkeypatch.setattr(night, "measure_night", lambda: data)
        monkeypatch.setattr(nights, "create_table_artifact", show)
        try:
            nights.check_data(accept=accept)
        finally:
            check.shown = shown
        return shown

    check.seen = seen_of(range(6000))
    return check


def seen_of(kept: range, refused: range = range(0), settings: str = "as they were") -> Seen:
    return Seen(settings=settings, every=1, kept=list(kept), refused=list(refused))


def usual(number: int) -> dict[str, float]:
    """The data of a night that has a few images more than the one before."""
    return USUAL | {"counts/source": 6000.0 + number}


def test_a_night_that_drifted_is_stopped_shown_and_no_norm(check, client):
    for number in range(3):
        check(usual(number))
    for number in range(2):
        with pytest.raises(InputError) as stopped:
            check(ODD | {"counts/source": 6003.0 + number})
    line = "drift.max_difference = 0.1: shares/segment/dropped is 0.5, the median of 3 nights is 0.2"
    assert str(stopped.value) == f"{line}; nothing was trained; the run's parameter accept_data takes such data as the norm"
    assert [row["stopped"] for row in check.shown] == [line, line, "", "", ""]
    assert (check.shown[0]["no mask"], check.shown[0]["direction"], check.shown[0]["words"]) == (0.5, 0.8, "")
    assert [logged.stopped for logged in read_nights(client, 2)] == [line, line]


def test_data_that_were_accepted_are_the_norm(check):
    for number in range(3):
        check(usual(number))
    check(ODD, accept=True)
    for number in range(3):
        check(ODD | {"counts/source": 6001.0 + number})
    with pytest.raises(InputError, match=r"0\.2, the median of 4 nights is 0\.5"):
        check(USUAL)


def test_a_rerun_is_no_further_night(check):
    for speed in (1.0, 2.0, 3.0):
        check(USUAL | {"speed/caption": speed})
    assert len(check.shown) == 1
    check(ODD)  # one night is no norm
    assert len(check.shown) == 2


def test_a_rerun_is_not_compared_with_itself(check):
    for number in range(2):
        check(usual(number))
    check(ODD)
    check(ODD)
    assert len(check.shown) == 3


def test_many_stopped_nights_do_not_open_the_gate(check, monkeypatch):
    params = read_params(ROOT / "params.yaml")
    three = params.model_copy(update={"drift": params.drift.model_copy(update={"nights": 3})})
    monkeypatch.setattr(nights, "read_params", lambda: three)
    for number in range(3):
        check(usual(number))
    for number in range(5):
        with pytest.raises(InputError, match="the median of 3 nights"):
            check(ODD | {"counts/source": 6003.0 + number})


def test_bad_pictures_in_place_of_good_ones_stop_it(check):
    check(USUAL)
    check.seen = seen_of(range(4500), range(1500))
    for _ in range(2):
        with pytest.raises(InputError, match="of 1,500 pictures that came since an earlier night 1,500 were refused"):
            check(USUAL | {"counts/refused": 1560.0})
    check(USUAL | {"counts/refused": 1560.0}, accept=True)
    check(USUAL | {"counts/refused": 1560.0})


def test_a_few_bad_pictures_every_night_are_seen_together(check):
    for number in (0, 10, 19):
        check.seen = seen_of(range(6000), range(number))
        check(USUAL)
    check.seen = seen_of(range(6000), range(20))
    with pytest.raises(InputError, match="of 20 pictures that came since an earlier night 20 were refused"):
        check(USUAL)
    check.seen = seen_of(range(6100), range(20))  # enough good ones came, too
    check(USUAL)
    check.seen = seen_of(range(6100), range(39))
    check(USUAL)


def test_pictures_of_a_night_that_drifted_stay_new(check):
    for number in range(3):
        check(usual(number))
    check.seen = seen_of(range(6100))
    with pytest.raises(InputError, match=r"drift\.max_difference"):
        check(ODD)
    check.seen = seen_of(range(6100), range(30))
    with pytest.raises(InputError, match="of 130 pictures that came since an earlier night 30 were refused"):
        check(usual(3))


def test_what_new_settings_refuse_is_not_blamed_on_new_pictures(check):
    check(USUAL)
    check.seen = seen_of(range(6000), range(100), settings="ingest.min_side was raised")
    check(USUAL)


def test_the_address_of_the_table_is_logged(check, monkeypatch):
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *values: said.append(text % values))
    monkeypatch.setattr(nights, "get_run_logger", lambda: log)
    check(USUAL)
    assert [line.endswith(f"/artifacts/artifact/{TABLE}") for line in said] == [True]


def test_the_table_shows_the_last_thirty_nights(check, monkeypatch):
    monkeypatch.setattr(nights, "SHOWN_NIGHTS", 3)
    for number in range(5):
        check(USUAL | {"counts/source": 6000.0 + number})
    assert [row["images"] for row in check.shown] == [6004, 6003, 6002]
