"""A process that runs one model, and the conversation with it: HTTP over a Unix socket.

A version runs on the code that was registered with it, and one process cannot hold the code of two. The process ends when its
standard input does, so it outlives this process in no case, not even a kill.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

import stages
from stages.serving.calls import ModelUnavailableError

MODULE = "stages.serving.worker"
OWN_CODE = Path(str(stages.__file__)).parents[1]
ASK_AGAIN = 0.1  # seconds between two questions whether a process is ready
LOADING = 600  # seconds that a model may take to load
ENDING = 5  # seconds that a process may take to end before it is killed
KEPT = 2  # seconds that a connection is kept for another request: less than uvicorn's five, which would close it in between
JSON = "application/json"
LOST = "the model's process has ended; it is started again"


class ModelProcess:
    """A running process, with its model loaded."""

    def __init__(self, process: asyncio.subprocess.Process, socket: Path, info: Mapping[str, Any]) -> None:
        self.info = info  # what the process says about its model
        self._process = process
        self._socket = socket
        self._client = _client(socket)

    @classmethod
    async def start(cls, folder: Path, code: Path, socket: Path) -> "ModelProcess":
        """Start a process and return it when its model is loaded.

        Args:
            folder: the model's folder.
            code: the folder on whose packages the process runs.
            socket: the path of the Unix socket that it listens on.

        Raises:
            ModelUnavailableError: the process ends before, or takes longer than LOADING seconds.
        """
        hidden = {"IEDIT_API_KEY"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"PYTHONPATH": str(code)}
        command = (sys.executable, "-P", "-m", MODULE, str(folder), str(socket))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,  # never written to: it ends with this process
            env=environment,
            start_new_session=True,  # Ctrl-C at a terminal must not end it before its requests are done
        )
        try:
            async with asyncio.timeout(LOADING):
                return cls(process, socket, await _wait_until_ready(process, socket))
        except BaseException as error:
            await _end(process)
            if isinstance(error, TimeoutError):
                raise ModelUnavailableError(f"the model was not loaded within {LOADING} seconds") from error
            raise

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.returncode is None

    async def wait(self) -> None:
        """Return when the process has ended."""
        await self._process.wait()

    async def ask(self, path: str, body: bytes, kind: str = JSON) -> httpx.Response:
        """Return the answer to a request, whole; ``kind`` is the type of its body.

        Raises:
            ModelUnavailableError: the process has ended.
        """
        try:
            return await self._client.post(path, content=body, headers={"content-type": kind})
        except httpx.TransportError as error:
            raise ModelUnavailableError(LOST) from error

    async def stream(self, path: str, body: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an answer as they come; closing the iterator lets the process give the request up.

        Raises:
            ModelUnavailableError: the process has ended.
        """
        try:
            async with self._client.stream("POST", path, content=body, headers={"content-type": JSON}) as response:
                parts: list[bytes] = []
                async for chunk in response.aiter_raw():
                    *ends, rest = chunk.split(b"\n")
                    for end in ends:
                        yield b"".join([*parts, end])
                        parts = []
                    parts.append(rest)
                if last := b"".join(parts):
                    yield last
        except httpx.TransportError as error:
            raise ModelUnavailableError(LOST) from error

    async def stop(self) -> None:
        """End the process and remove its socket."""
        await self._client.aclose()
        await _end(self._process)
        self._socket.unlink(missing_ok=True)


def _client(socket: Path) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, keepalive_expiry=KEPT)
    transport = httpx.AsyncHTTPTransport(uds=str(socket), limits=limits)
    return httpx.AsyncClient(transport=transport, base_url="http://model", timeout=None, trust_env=False)  # noqa: S113 - requests have deadlines of their own


async def _wait_until_ready(process: asyncio.subprocess.Process, socket: Path) -> dict[str, Any]:
    """Return what a process says about its model, once it says anything."""
    async with _client(socket) as client:
        while process.returncode is None:
            with suppress(httpx.TransportError):
                answer = await client.get("/info")
                if answer.is_success:
                    info: dict[str, Any] = answer.json()
                    return info
            await asyncio.sleep(ASK_AGAIN)
    raise ModelUnavailableError("the model could not be loaded; see the log", retry_after=30)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), ENDING)
        except TimeoutError:
            process.kill()
            await process.wait()
