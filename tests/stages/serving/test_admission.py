"""What is let in: bounds of requests, pixels, steps and of one client."""

import asyncio
from contextlib import ExitStack

import pytest

from stages.core.errors import InputError
from stages.serving import admission as admissions
from stages.serving.admission import Admission, Limits
from stages.serving.calls import BusyError, ModelUnavailableError


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test can set."""
    times = [1000.0]
    monkeypatch.setattr(admissions.time, "monotonic", lambda: times[0])
    return times


def test_no_more_requests_than_allowed_are_in_flight():
    admission = Admission(Limits(requests=2, per_minute=0))
    with admission.admit(), admission.admit():
        assert admission.requests == 2
        with pytest.raises(BusyError, match="busy with 2 requests"), admission.admit():
            pass
        with pytest.raises(BusyError):
            admission.check_open()
    with admission.admit():
        assert admission.requests == 1
    assert admission.requests == 0


def test_pixels_of_picture_and_results_are_bounded_together():
    admission = Admission(Limits(pixels=100, per_minute=0))
    with admission.admit(pixels=20, images=3):
        assert admission.pixels == 80
        with pytest.raises(BusyError, match="busy with 80 pixels"), admission.admit(pixels=11, images=1):
            pass
        with admission.admit(pixels=10, images=1):
            assert admission.pixels == 100
    assert admission.pixels == 0


@pytest.mark.parametrize(("file_bytes", "counted"), [(95, 95), (79, 80)])
def test_a_file_counts_where_it_is_larger_than_its_pixels(file_bytes, counted):
    admission = Admission(Limits(pixels=100, per_minute=0))
    with admission.admit(pixels=20, images=3, file_bytes=file_bytes):
        assert admission.pixels == counted
        with pytest.raises(BusyError, match="pixels"), admission.admit(file_bytes=101 - counted):
            pass
        with admission.admit(file_bytes=100 - counted):
            assert admission.pixels == 100
    assert admission.pixels == 0


def test_a_failed_request_leaves_nothing_behind():
    admission = Admission(Limits(per_minute=0))
    with pytest.raises(ZeroDivisionError), admission.admit(pixels=5, images=5):
        raise ZeroDivisionError
    assert (admission.requests, admission.pixels) == (0, 0)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"pixels": 26, "images": 3, "steps": 1}, "the image has 26 pixels: with 3 results, 25 are allowed"),
        ({"pixels": 1, "images": 17, "steps": 1}, "number of images = 17"),
        ({"pixels": 1, "images": 0, "steps": 1}, "number of images = 0"),
        ({"pixels": 1, "images": 16, "steps": 999}, "= 15,984: allowed in one request are 10,000"),
    ],
)
def test_a_request_too_large_by_itself_is_refused(request_, message):
    with pytest.raises(InputError, match=message):
        Admission(Limits(pixels=100)).check(**request_)


def test_a_client_may_send_its_requests_of_a_minute(clock):
    admission = Admission(Limits(per_minute=60))
    for _ in range(60):
        admission.charge("a")
    with pytest.raises(BusyError, match="allowed are 60 requests a minute of one client") as refusal:
        admission.charge("a")
    assert refusal.value.retry_after == pytest.approx(1)
    admission.charge("b")
    clock[0] += 1
    admission.charge("a")
    with pytest.raises(BusyError):
        admission.charge("a")
    clock[0] += 3600
    for _ in range(60):
        admission.charge("a")
    with pytest.raises(BusyError):
        admission.charge("a")


def test_only_so_many_clients_are_remembered(clock, monkeypatch):
    monkeypatch.setattr(admissions, "REMEMBERED", 10)
    admission = Admission(Limits(per_minute=1))
    for client in range(100):
        admission.charge(str(client))
    assert len(admission._allowances) == 10
    with pytest.raises(BusyError):
        admission.charge("99")


def test_the_wait_follows_the_pace_of_the_queue(clock):
    admission = Admission(Limits(requests=4, per_minute=0))
    for _ in range(5):
        with admission.admit():
            clock[0] += 3
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(admission.admit())
        with pytest.raises(BusyError) as refusal:
            admission.check_open()
    assert refusal.value.retry_after == 6  # half of four requests of three seconds


@pytest.mark.parametrize("begin", [Admission.admit, Admission.answering])
def test_closing_waits_for_work_and_answers(begin):
    async def run() -> list[str]:
        admission, events = Admission(), []

        async def work() -> None:
            with begin(admission):
                await asyncio.sleep(0.05)
                events.append("done")

        working = asyncio.create_task(work())
        await asyncio.sleep(0)
        await admission.close()
        events.append("closed")
        with pytest.raises(ModelUnavailableError, match="shutting down"), admission.admit():
            pass
        await working
        return events

    assert asyncio.run(run()) == ["done", "closed"]


def test_closing_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(admissions, "ANSWERING", 0.01)

    async def run() -> int:
        admission = Admission(Limits(seconds=0.01))
        with admission.admit():
            await admission.close()
            return admission.requests

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize("limits", [{"per_minute": -1}, {"seconds": 0}, {"seconds": float("nan")}, {"seconds": float("inf")}])
def test_limits_out_of_range_are_refused(limits):
    with pytest.raises(InputError, match=r"must be (at least 0|finite and above 0 seconds)"):
        Limits(**limits)
