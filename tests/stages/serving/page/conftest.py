"""Fixtures of the tests in a browser: one service and one browser for all."""

import pytest

from tests.support.browser import launched, visited
from tests.support.real_service import real_service


@pytest.fixture(scope="module")
def address():
    """The address of a service on the small models."""
    with real_service() as address:
        yield address


@pytest.fixture(scope="module")
def browser(address):
    """A headless browser; while it is open no other event loop can run in this thread."""
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    """The page, opened by a new visitor."""
    with visited(browser, address) as page:
        yield page
