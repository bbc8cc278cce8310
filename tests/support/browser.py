"""A real browser for the tests of pages: Debian's Chromium without a window."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or ""
PATIENCE = 120_000  # milliseconds; a busy machine is slow, and no test is about time
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")


@contextmanager
def open_page(address: str, **context: object) -> Iterator[Page]:
    """Open an address in a browser of its own, with no other host within reach; an error on the page fails the test.

    Servers start before this: Playwright keeps an event loop running in the thread that called it.

    Args:
        address: http://127.0.0.1:PORT/.
        context: options of Playwright's ``new_context``, such as ``viewport``.
    """
    errors: list[str] = []
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", lambda request: errors.append(f"{request.url}: {request.failure}"))
        page.goto(address)
        yield page
        errors = [each for each in errors if "ERR_ABORTED" not in each]  # a stream that the page has closed itself
        browser.close()
    assert errors == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
