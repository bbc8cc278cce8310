"""A real browser for the tests of pages: Debian's Chromium without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or ""
PATIENCE = 120_000  # milliseconds; a busy machine is slow, and no test is about time
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")


@contextmanager
def launched() -> Iterator[Browser]:
    """Yield a browser with no other host within reach.

    Servers start before this: Playwright keeps an event loop running in the thread that called it.
    """
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # it shows a moving pattern
        options = ["--no-sandbox", *camera, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextmanager
def visited(browser: Browser, address: str, **context: object) -> Iterator[Page]:
    """Open an address as a visitor of its own; an error on the page, or a request to elsewhere, fails the test.

    Args:
        browser: from :func:`launched`.
        address: http://127.0.0.1:PORT/.
        context: options of Playwright's ``new_context``, such as ``viewport``.
    """
    errors: list[str] = []
    asked: list[str] = []
    visitor = browser.new_context(**context)
    page = visitor.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(f"{request.url}: {request.failure}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    errors = [each for each in errors if "ERR_ABORTED" not in each]  # a stream that the page has closed itself
    visitor.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@contextmanager
def open_page(address: str, **context: object) -> Iterator[Page]:
    """Open an address in a browser of its own, as :func:`visited` does."""
    with launched() as browser, visited(browser, address, **context) as page:
        yield page
