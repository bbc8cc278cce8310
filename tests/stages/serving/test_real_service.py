"""``iedit serve`` on a small real model: kills, clients that leave, and the deadline."""

import os
import select
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stages.common.own_folder import own_folder
from stages.serving.folder import PREFIX
from tests.support.real_service import MODEL, real_process
from tests.support.serving import png, wait_until

QUICK = {"prompt": "a carrot in the forest", "mask_mode": "none", "steps": "1", "strength": "1"}
LONG = QUICK | {"steps": "999", "n": "10"}  # minutes
DEADLINE = 60  # seconds; a free model does QUICK in far fewer
PATIENCE = 300  # seconds for an answer


@pytest.fixture
def temporary() -> Iterator[str]:
    """A folder for the service's temporary files; its path is short, as sockets need it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield name


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a service."""
    with real_process(MODEL, "--deadline", str(DEADLINE), "--requests-per-minute", "0") as (address, _):
        yield address


def edit(address: str, fields: dict[str, str], seconds: float = PATIENCE) -> int:
    """Send an edit, and return the status of its answer, waiting for that some seconds at most."""
    timeout = httpx.Timeout(PATIENCE, read=seconds)
    return httpx.post(f"{address}v1/images/edits", files={"image": png()}, data=fields, timeout=timeout).status_code


def workers_of(pid: int) -> list[int]:
    """The processes that run models."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_service_leaves_nothing_behind(temporary, monkeypatch):
    with real_process(MODEL, temporary=temporary) as (address, process):
        assert edit(address, QUICK) == 200
        (worker,) = map(os.pidfd_open, workers_of(process.pid))
        process.kill()
        process.wait()
    wait_until(lambda: select.select([worker], [], [], 0)[0])  # the worker has ended too
    os.close(worker)
    monkeypatch.setattr(tempfile, "tempdir", temporary)
    with own_folder(PREFIX) as folder:  # the next service's
        assert list(Path(temporary).glob(f"{PREFIX}*")) == [folder]


@pytest.mark.exhaustive
def test_after_its_client_left_the_model_is_free(address):
    with pytest.raises(httpx.ReadTimeout):
        edit(address, LONG, seconds=2)
    assert edit(address, QUICK, seconds=DEADLINE / 2) == 200  # LONG would be at work for longer


@pytest.mark.exhaustive
def test_after_the_deadline_the_model_is_free(address):
    assert [edit(address, LONG), edit(address, QUICK)] == [504, 200]


@pytest.mark.exhaustive
def test_a_killed_worker_is_replaced(temporary):
    with real_process(MODEL, temporary=temporary) as (address, process):
        killed = workers_of(process.pid)
        os.kill(*killed, signal.SIGKILL)
        wait_until(lambda: workers_of(process.pid) not in (killed, []))
        wait_until(lambda: httpx.get(f"{address}ready", timeout=PATIENCE).is_success)
        assert edit(address, QUICK) == 200
