"""Fixtures of the tests in a browser: one service and one browser for all."""

import pytest

from tests.support import browser as support


@pytest.fixture(scope="module")
def address():
    """The address of a service on the small models."""
    with support.served() as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """A headless browser; while it is open no other event loop can run in this thread."""
    with support.launched() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    """The page, opened by a new visitor."""
    with support.visited(browser, address) as page:
        yield page
