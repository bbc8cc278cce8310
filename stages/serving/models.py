"""The models that are loaded, each in its own process, and which of them a request gets."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from stages.core.errors import InputError
from stages.core.files import NoRoomError
from stages.core.params_file import ParameterError
from stages.serving.calls import DEFAULT, BusyError, ModelUnavailableError, ModelVersion, UnavailableError, UnknownModelError
from stages.serving.catalogue import Catalogue, Source
from stages.serving.process import ModelProcess

MOST = 3  # loaded models, the default included; one more while a new default takes over from those that are all at work
INTERVAL = 3.0  # seconds between two looks at the registry
IDLE = 600.0  # seconds after which a model that nobody asks for, and that is not the default, is ended
PATIENCE = 5.0  # seconds from a failed attempt to load the default model to the next; also when to ask for it again
LONGEST_PATIENCE = 60.0  # after several failures: each attempt may cost half a minute of a core

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """A model, handed out to one request."""

    process: ModelProcess
    model: ModelVersion


@dataclass(eq=False)
class _Loaded:
    """A loaded model."""

    source: Source
    process: ModelProcess
    requests: int = 0  # at work on it
    used: float = field(default_factory=time.monotonic)  # when the last of them began or ended

    def describe(self, reference: str) -> ModelVersion:
        """Return the model for requests that name it by ``reference``."""
        sampling = self.process.info["sampling"]
        return ModelVersion(reference=reference, name=self.source.name, version=self.source.version, sampling=sampling)


class Models:
    """Loads models and hands them out.

    The default is loaded at once and followed: when its alias moves, the new version is loaded beside the old one, and the
    next request gets it, while those at work stay with the old one. Further models are loaded when they are asked for; the
    one unused for longest makes room. A process that has died is started again.
    """

    def __init__(self, catalogue: Catalogue, folder: Path, *, interval: float = INTERVAL, idle: float = IDLE) -> None:
        self._catalogue = catalogue
        self._folder = folder  # of the sockets
        self._interval, self._idle = interval, idle
        self._loaded: dict[Path, _Loaded] = {}  # by the model's folder
        self._loading: dict[Path, asyncio.Task[_Loaded]] = {}
        self._default: _Loaded | None = None
        self._references: list[str] = []
        self._numbers = count(1)  # of sockets

    async def start(self) -> None:
        """Begin to load the default model, and to follow it."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End all processes."""
        tasks = [self._following, *self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(loaded.process.stop() for loaded in self._loaded.values()))

    @property
    def default(self) -> ModelVersion | None:
        """The model of requests that name none; None while it is not loaded."""
        if self._default is None or not self._default.process.is_alive:
            return None
        return self._default.describe(self._references[0])

    def versions(self) -> list[ModelVersion]:
        """Return the models that a request may name, the default first; of those not loaded yet only the reference is known."""
        known = {loaded.source.reference: loaded for loaded in self._loaded.values()}
        if self._default is not None:
            known[self._references[0]] = self._default  # whatever else it was loaded as
        return [
            known[each].describe(each) if each in known else ModelVersion(reference=each, name=each, version=None)
            for each in self._references
        ]

    @asynccontextmanager
    async def lease(self, reference: str) -> AsyncIterator[Lease]:
        """Hand out the model that a reference names now; it is not ended within the block.

        Raises:
            UnknownModelError: the reference names none.
            ModelUnavailableError: it is the default and not loaded, or it cannot be loaded.
            BusyError: too many other models are at work.
        """
        if reference == DEFAULT or reference in self._references[:1]:
            loaded = self._take_default()
            reference = self._references[0]
        else:
            loaded = await self._load(await self._find(reference))
        loaded.requests += 1
        try:
            yield Lease(loaded.process, loaded.describe(reference))
        finally:
            loaded.requests -= 1
            loaded.used = time.monotonic()

    def _take_default(self) -> _Loaded:
        if self._default is None or not self._default.process.is_alive:
            raise ModelUnavailableError("the model is being loaded", retry_after=PATIENCE)
        return self._default

    async def _find(self, reference: str) -> Source:
        try:
            return await asyncio.to_thread(self._catalogue.find, reference)
        except UnknownModelError:
            raise
        except (InputError, ParameterError, NoRoomError) as error:
            logger.warning("model %s: %s", reference, error)
            raise ModelUnavailableError(f"model {reference} cannot be loaded; see the log", retry_after=PATIENCE) from error

    async def _load(self, source: Source, most: int = MOST) -> _Loaded:
        """Return a model, loaded by this request or another one; ``most`` may be loaded then, if those beyond are at work.

        Raises:
            BusyError: the others are at work.
        """
        loaded = self._loaded.get(source.folder)
        if loaded is not None and loaded.process.is_alive:
            return loaded
        if source.folder not in self._loading:
            self._loading[source.folder] = asyncio.create_task(self._start(source, most))
        loaded = await asyncio.shield(self._loading[source.folder])  # others may wait for it too
        if self._loaded.get(source.folder) is not loaded:
            raise BusyError("too many models are at work", retry_after=PATIENCE)  # another one took its room at once
        return loaded

    async def _start(self, source: Source, most: int) -> _Loaded:
        try:
            dead = self._loaded.pop(source.folder, None)
            if dead is not None:
                await dead.process.stop()
            with suppress(BusyError):
                await self._make_room(MOST)
            await self._make_room(most)
            logger.info("loading %s %s", source.name, source.version or "")
            socket = self._folder / str(next(self._numbers))
            process = await ModelProcess.start(source.folder, source.code, socket)
            self._loaded[source.folder] = _Loaded(source, process)
            return self._loaded[source.folder]
        finally:
            del self._loading[source.folder]

    async def _make_room(self, most: int) -> None:
        """End the models unused for longest while there are more than ``most``, with those on their way.

        Raises:
            BusyError: they are at work.
        """
        while len(self._loaded) + len(self._loading) > most:
            idle = [each for each in self._loaded.values() if each.requests == 0 and each is not self._default]
            if not idle:
                raise BusyError("too many models are at work", retry_after=PATIENCE)
            await self._end(min(idle, key=lambda each: each.used))

    async def _end(self, loaded: _Loaded) -> None:
        if self._loaded.get(loaded.source.folder) is loaded:  # otherwise it is being ended already
            del self._loaded[loaded.source.folder]
            await loaded.process.stop()

    async def _follow(self) -> None:
        """Keep the default the model that it should be, and end models that nobody uses."""
        patience = PATIENCE
        while True:
            try:
                await self._revive_default()
                self._references = await asyncio.to_thread(self._catalogue.references)
                self._default = await self._load(await self._find(DEFAULT), MOST + 1)
                await self._end_idle()
                with suppress(BusyError):  # the one too many is ended when its requests are
                    await self._make_room(MOST)
                patience = PATIENCE
            except Exception as error:  # whatever it is, the next look may find it mended
                is_known = isinstance(error, InputError | ParameterError | NoRoomError | UnavailableError)
                logger.warning("the model cannot be looked up or loaded: %s", error, exc_info=not is_known)
                await asyncio.sleep(patience)
                patience = min(2 * patience, LONGEST_PATIENCE)
            await self._pause()

    async def _revive_default(self) -> None:
        """Start the default again if its process has died, before the registry is asked, which may be away."""
        if self._default is None or self._default.process.is_alive:
            return
        try:
            self._default = await self._load(self._default.source, MOST + 1)
        except (UnavailableError, OSError) as error:  # the registry may name another one
            logger.warning("the model cannot be started again: %s", error)

    async def _pause(self) -> None:
        """Wait for the next look: the interval, or less if the default's process ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                if self._default is None:
                    await asyncio.sleep(self._interval)
                else:
                    await self._default.process.wait()

    async def _end_idle(self) -> None:
        for each in list(self._loaded.values()):
            is_unused = each.requests == 0 and time.monotonic() - each.used > self._idle
            if is_unused and each is not self._default:
                await self._end(each)
