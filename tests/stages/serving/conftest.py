"""Fixtures for the tests of the service."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from stages.serving import admission
from stages.serving.models import Models
from tests.support.serving import Shelf, served


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    """A catalogue with one stand-in for a model."""
    shelf = Shelf(tmp_path)
    shelf.add("one")
    return shelf


@pytest.fixture(scope="module")
def shared_shelf(tmp_path_factory) -> Shelf:
    """A catalogue with two stand-ins, for the tests of one file that only edit."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.add("one")
    shelf.add("two")
    return shelf


@pytest.fixture(scope="module")
def address(shared_shelf, tmp_path_factory):
    """Where a service of the stand-ins listens."""
    with served(Models(shared_shelf, tmp_path_factory.mktemp("s"))) as address:
        yield address


@pytest.fixture
def stopped_clock(monkeypatch):
    """Let no time pass for admission: however slow the test is, no client may send more."""
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: 0.0))


@pytest.fixture(scope="module")
def loop():
    """An event loop that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def stand_ins(shared_shelf, loop, tmp_path_factory):
    """Started models: stand-ins of which the first is the default."""
    models = Models(shared_shelf, tmp_path_factory.mktemp("s"), interval=0.1)
    asyncio.run_coroutine_threadsafe(models.start(), loop).result()
    yield models
    asyncio.run_coroutine_threadsafe(models.stop(), loop).result()
