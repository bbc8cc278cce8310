"""The server: listens, and on a signal finishes what is at work before it ends."""

import asyncio
import ipaddress
import os
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from stages.common.own_folder import own_folder
from stages.common.ports import try_port
from stages.core.errors import InputError
from stages.serving.admission import Admission, Limits
from stages.serving.app import make_app
from stages.serving.calls import DEFAULT
from stages.serving.catalogue import open_catalogue
from stages.serving.connections import Connection
from stages.serving.folder import PREFIX, UPLOADS
from stages.serving.models import Models
from stages.serving.security import Access
from stages.serving.service import Service

TICK = 0.1  # seconds between two looks whether all is finished
CLOSING = 3  # seconds for connections that stay open, as those of pages do
SILENCE = 60  # seconds after which a connection is broken off whose other end takes nothing of what waits for it
MAX_PORT = 65_535
PROXIES = "FORWARDED_ALLOW_IPS"  # the addresses of proxies whose X-Forwarded-For is believed


class Server(uvicorn.Server):
    """A server that answers 503 to new requests while it finishes those at work; a second Ctrl-C ends it at once."""

    def __init__(self, config: uvicorn.Config, admission: Admission) -> None:
        super().__init__(config)
        self._admission = admission

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; connections have the listening socket's options."""
        await super().startup(sockets)
        for each in (each for server in self.servers for each in server.sockets):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * SILENCE))

    async def main_loop(self) -> None:
        """Serve until a signal comes, then finish."""
        await super().main_loop()
        finishing = asyncio.create_task(self._admission.close())
        while not finishing.done() and not self.force_exit:  # noqa: ASYNC110 - uvicorn sets a flag, it has no event
            await asyncio.sleep(TICK)


def serve(model: str, access: Access, port: int, limits: Limits) -> None:
    """Serve a model until a signal comes.

    Args:
        model: models:/NAME@ALIAS, models:/NAME/VERSION, or a folder.
        access: where to listen, and who may ask.
        port: 0 is any free one.
        limits: how much work is accepted at once.

    Raises:
        InputError: there is no such model or port, the port is taken, or every proxy is trusted.
    """
    if not 0 <= port <= MAX_PORT:
        raise InputError(f"port = {port}: must be at least 0 and at most {MAX_PORT}")
    _check_free(access.host, port)
    catalogue, admission = open_catalogue(model), Admission(limits)
    catalogue.find(DEFAULT)  # a mistake in the name is reported before anything listens
    signal.signal(signal.SIGTERM, _exit)  # uvicorn handles it meanwhile, and sends it once more at its end
    with own_folder(PREFIX) as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder / UPLOADS)  # read when Gradio is imported, and by components

        from stages.serving.page.page import mount_page

        service = Service(Models(catalogue, folder), admission)
        service.prepare_terms()
        app = make_app(service, access)
        mount_page(app, service, folder)
        Server(configure(app, access.host, port), admission).run()


def configure(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """Return the settings of a server of an application.

    Raises:
        InputError: every proxy is trusted, so that clients could name themselves.
    """
    proxies = os.environ.get(PROXIES, "")
    if any(_is_everyone(each.strip()) for each in proxies.split(",")):
        raise InputError(f"{PROXIES} = {proxies!r}: must be the addresses of proxies, or every client could name itself")
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Connection,
        ws="none",
        access_log=False,
        proxy_headers=bool(proxies),  # uvicorn reads it; without a proxy a client could name any address
        server_header=False,
        timeout_graceful_shutdown=CLOSING,
    )


def _check_free(host: str, port: int) -> None:
    """Raise InputError, before anything is loaded, if a port is taken or an address is not one of this machine."""
    try:
        try_port(host, port)
    except OSError as error:
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error


def _is_everyone(proxy: str) -> bool:
    """Return whether an entry of PROXIES is * or a network of all addresses."""
    try:
        return ipaddress.ip_network(proxy).prefixlen == 0
    except ValueError:  # a name
        return "*" in proxy


def _exit(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's signature
    sys.exit(0)
