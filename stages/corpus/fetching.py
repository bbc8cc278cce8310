"""Fetch a list of URLs with img2dataset; run by the environment that img2dataset is installed in, as ``fetching.py OPTIONS``.

The URLs come from strangers, and so do the answers. By itself img2dataset opens whatever Python's urllib can, files of this
machine included, follows every redirect, and reads answers of any length. So here
only http and https are opened; names that lead to this machine or a private network are not (a server cannot point elsewhere
in between: what is checked is what is connected to); and an answer has a most of bytes and of seconds.
"""

import http.client
import ipaddress
import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

BOUNDS = "IEDIT_BOUNDS"  # the variable by which img2dataset's processes, which import this module anew, know the bounds
PIECE = 2**16  # bytes

_find_addresses = socket.getaddrinfo


class Bounded(urllib.request.BaseHandler):
    """Bounds the bytes and the seconds of every answer."""

    def __init__(self, most_bytes: int, most_seconds: float) -> None:
        self._bytes, self._seconds = most_bytes, most_seconds

    def http_response(self, _: urllib.request.Request, response: Any) -> Any:
        """Return an answer that is read within the bounds."""
        until = time.monotonic() + self._seconds
        response.read = lambda _=None: self._read(response, until)
        return response

    https_response = http_response

    def _read(self, response: http.client.HTTPResponse, until: float) -> bytes:
        """Return the whole body.

        Raises:
            OSError: it is empty, too long, takes too long, or ends too early.
        """
        data = bytearray()
        while piece := response.read1(PIECE):
            data += piece
            if len(data) > self._bytes:
                raise OSError(f"more than {self._bytes} bytes")
            if time.monotonic() > until:
                raise TimeoutError(f"took more than {self._seconds:g} seconds")
        if response.length:
            raise OSError("ended too early")
        if not data and response.status == HTTPStatus.OK:  # a redirect may be empty
            raise OSError("an empty answer")
        return bytes(data)


def public_addresses(host: Any, *arguments: Any, **options: Any) -> list[Any]:
    """Return the addresses of a host as ``socket.getaddrinfo`` does, unless one of them is not public.

    Raises:
        OSError: one is not, and it is not that of a proxy in the environment, which has to judge for itself.
    """
    found = _find_addresses(host, *arguments, **options)
    proxies = {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}
    if host not in proxies and not all(_is_public(str(address[0])) for *_, address in found):
        raise OSError("leads to a private address")
    return found


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_global and not parsed.is_multicast


def opener(most_bytes: int, most_seconds: float) -> urllib.request.OpenerDirector:
    """Return what opens http and https alone, within bounds."""
    director = urllib.request.OpenerDirector()
    handlers: list[Callable[[], urllib.request.BaseHandler]] = [
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
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
