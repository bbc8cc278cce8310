"""Whether a request comes from a page of another site, which makes the browser of this machine send it."""

from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers

SAFE_METHODS = ("GET", "HEAD")


def why_foreign(method: str, headers: Headers) -> str | None:
    """Return in a line why a request is one of another site's page; None if it is not."""
    origin = headers.get("origin")
    if origin is not None and _host(origin) != headers.get("host", "").lower():
        return "Origin: requests from pages of other sites are refused"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and method not in SAFE_METHODS:
        return "Sec-Fetch-Site: requests from pages of other sites are refused"
    return None


def _host(origin: str) -> str | None:
    """Return the host and port of an origin; None if it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def only_own_pages(request: Request) -> None:
    """Check one request; a dependency of routes.

    Raises:
        HTTPException: it comes from a page of another site.
    """
    if (reason := why_foreign(request.method, request.headers)) is not None:
        raise HTTPException(403, reason)
