"""Fetch a list of URLs with img2dataset; run by the environment that img2dataset is installed in, as ``fetching.py OPTIONS``.

The URLs come from strangers, and so do the answers. By itself img2dataset opens whatever Python's urllib can, files of this
machine included, follows every redirect, and reads answers of any length. So here
only http and https are opened; names that lead to this machine or a private network are not (a server cannot point elsewhere
in between: what is checked is what is connected to); and an answer has a most of bytes and of seconds, in which its headers and
all redirects to it have to come too.
"""

import http.client
import io
import ipaddress
import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

BOUNDS = "IEDIT_BOUNDS"  # the variable by which img2dataset's processes, which import this module anew, know the bounds
PIECE = 2**16  # bytes
MOST_ADDRESSES = 16  # of a host; each that does not answer costs a timeout

_find_addresses = socket.getaddrinfo


class Deadline:
    """A moment after which nothing more is read."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Go on in time.

        Raises:
            TimeoutError: it is too late.
        """
        if time.monotonic() > self._until:
            raise TimeoutError(f"took more than {self._seconds:g} seconds")


class InTime(io.RawIOBase):
    """What comes from a server, piece by piece until a deadline; a piece may take the timeout of the socket."""

    def __init__(self, raw: io.RawIOBase, deadline: Deadline) -> None:
        self._raw, self._deadline = raw, deadline

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has come.

        Raises:
            TimeoutError: it is too late.
        """
        self._deadline.check()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the file of the socket too."""
        self._raw.close()
        super().close()


class Answer(http.client.HTTPResponse):
    """An answer that has to come before a deadline, its first line and its headers too."""

    def __init__(self, *arguments: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp = io.BufferedReader(InTime(self.fp.detach(), deadline))


def connection(kind: Callable[..., http.client.HTTPConnection], deadline: Deadline, *arguments: Any, **options: Any) -> Any:
    """Return a connection of a kind, all of whose answers have to come before a deadline."""
    made = kind(*arguments, **options)
    made.response_class = partial(Answer, deadline=deadline)  # type: ignore[assignment] # what makes answers
    return made


class Bounded(urllib.request.AbstractHTTPHandler):
    """Opens http and https, with bounds on the bytes and the seconds of every answer."""

    def __init__(self, most_bytes: int, most_seconds: float) -> None:
        super().__init__()
        self._bytes, self._seconds = most_bytes, most_seconds

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Return a request with its headers, and with a deadline unless it has that of the one that led to it."""
        if not hasattr(request, "deadline"):
            request.deadline = Deadline(self._seconds)  # type: ignore[attr-defined] # ours
        return self.do_request_(request)

    https_request = http_request

    def http_open(self, request: Any) -> http.client.HTTPResponse:
        """Return the answer to a request."""
        return self.do_open(partial(connection, http.client.HTTPConnection, request.deadline), request)

    def https_open(self, request: Any) -> http.client.HTTPResponse:
        """Return the answer to a request."""
        return self.do_open(partial(connection, http.client.HTTPSConnection, request.deadline), request)

    def http_response(self, _: urllib.request.Request, response: Any) -> Any:
        """Return an answer whose body is read within the bounds."""
        response.read = lambda _=None: self._read(response)
        return response

    https_response = http_response

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Return the whole body.

        Raises:
            OSError: it is empty, too long, takes too long, or ends too early.
        """
        data = bytearray()
        while piece := response.read1(PIECE):
            data += piece
            if len(data) > self._bytes:
                raise OSError(f"more than {self._bytes} bytes")
        if response.length:
            raise OSError("ended too early")
        if not data and response.status == HTTPStatus.OK:  # a redirect may be empty
            raise OSError("an empty answer")
        return bytes(data)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects before the deadline of the first request."""

    def redirect_request(self, request: Any, *answer: Any) -> Any:
        """Return the request that an answer leads to."""
        redirected = super().redirect_request(request, *answer)
        if redirected is not None:
            redirected.deadline = request.deadline  # type: ignore[attr-defined] # ours
        return redirected


def public_addresses(host: Any, *arguments: Any, **options: Any) -> list[Any]:
    """Return addresses of a host as ``socket.getaddrinfo`` does, at most MOST_ADDRESSES, unless one of all is not public.

    Raises:
        OSError: one is not, and it is not that of a proxy in the environment, which has to judge for itself.
    """
    found = _find_addresses(host, *arguments, **options)
    proxies = {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}
    if host not in proxies and not all(_is_public(str(address[0])) for *_, address in found):
        raise OSError("leads to a private address, which download.private_addresses = false refuses")
    return found[:MOST_ADDRESSES]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_global and not parsed.is_multicast


def opener(most_bytes: int, most_seconds: float) -> urllib.request.OpenerDirector:
    """Return what opens http and https alone, within bounds."""
    director = urllib.request.OpenerDirector()
    handlers: list[Callable[[], urllib.request.BaseHandler]] = [
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPDefaultErrorHandler,
        Redirects,
        urllib.request.HTTPErrorProcessor,
    ]
    for handler in handlers:
        director.add_handler(handler())
    director.add_handler(Bounded(most_bytes, most_seconds))
    return director


def set_bounds(most_bytes: int, most_seconds: float, private_addresses: bool) -> None:
    """Bound what this process opens with urllib."""
    urllib.request.install_opener(opener(most_bytes, most_seconds))
    if not private_addresses:
        socket.getaddrinfo = public_addresses


if BOUNDS in os.environ:
    set_bounds(**json.loads(os.environ[BOUNDS]))

if __name__ == "__main__":
    from img2dataset import download

    download(**json.loads(sys.argv[1]))
