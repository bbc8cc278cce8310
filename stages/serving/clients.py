"""The client of a request: who it is, and whether it has left."""

import asyncio
import ipaddress
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

LOCAL = "this machine"
NETWORK = 64  # leading bits of an IPv6 address; whoever has one address with them has all
Result = TypeVar("Result")


def name_of(request: Request) -> str:
    """Return whom a request counts for: its address, or what a trusted proxy says it is, named by :func:`client_at`."""
    return client_at(request.client.host) if request.client is not None else LOCAL


def client_at(host: str) -> str:
    """Return who is at an address: one name for all addresses that a client can choose among."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name that a proxy gives
        return host
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return LOCAL
    return str(ipaddress.ip_network((host, NETWORK), strict=False)) if address.version == 6 else str(address)


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of some work for a request whose body has been read; cancel the work if the client leaves.

    Raises:
        ClientDisconnect: the client has left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
