"""The service: one object that both the REST interface and the page call."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import Request

from stages.core.errors import InputError, first_line
from stages.editing.request import MaskMode
from stages.serving import wire
from stages.serving.admission import Admission
from stages.serving.calls import (
    DEFAULT,
    DeadlineExceededError,
    EditCall,
    Edited,
    EditFailedError,
    FoundMask,
    ModelUnavailableError,
    ModelVersion,
    Picture,
    Progress,
)
from stages.serving.clients import LOCAL, name_of
from stages.serving.metrics import Metrics
from stages.serving.models import Lease, Models
from stages.serving.turns import Turns

PICTURE_THREADS = 2  # that decode and encode, so that the event loop is free
TERM_WITHIN = 500  # the term is chosen among the nouns in so many first characters; models read about as many

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Service:
    """Edits pictures with the models that it runs; to be used from one event loop.

    Everything that costs work is charged to its client first. The methods that work raise these errors.

    Raises:
        InputError: the request is refused; UnknownModelError if it names a model that is not served.
        BusyError: too much is at work.
        ModelUnavailableError: the model is not loaded, has died, or the service is shutting down.
        DeadlineExceededError: the request was not done in time.
        EditFailedError: the edit failed for another reason.
    """

    def __init__(self, models: Models, admission: Admission) -> None:
        self.metrics = Metrics(admission, models)
        self._models, self._admission = models, admission
        self._pictures = ThreadPoolExecutor(PICTURE_THREADS, thread_name_prefix="pictures")
        self._language = Turns("language")  # NLTK's reader is for one thread

    async def start(self) -> None:
        """Begin to load the default model."""
        await self._models.start()

    def prepare_terms(self) -> None:
        """Load what :meth:`suggest_term` needs, so that its first caller does not wait for it."""
        self._language.prepare(_nouns, "a dog")

    async def stop(self) -> None:
        """End the processes of all models."""
        await self._models.stop()
        self._pictures.shutdown(wait=False, cancel_futures=True)
        self._language.stop()

    @property
    def state(self) -> str:
        """What the service does: "loading", "ready" to edit, or "shutting down"."""
        return "shutting down" if self._admission.is_closed else "loading" if self._models.default is None else "ready"

    async def edit(
        self, call: EditCall, *, model: str = DEFAULT, client: str = LOCAL
    ) -> AsyncGenerator[Progress | Edited, None]:
        """Yield the progress of an edit, and at last its results; closing the iterator gives the edit up.

        Args:
            call: what to edit, and how; without a term for a predicted mask, the suggested one is taken.
            model: the reference of a model.
            client: whose turn it is where clients take turns.
        """
        start = time.monotonic()
        async with self._at_work(call, model) as (lease, deadline):
            call = await self._with_term(call, client, lease, deadline)
            body = await self._pack(call, lease, deadline)
            async with aclosing(self._lines(lease, "/edits", body, deadline)) as lines:
                async for line in lines:
                    answer = _checked(await self.in_thread(wire.unpack, line))
                    if "images" not in answer:
                        yield await self.in_thread(wire.unpack_progress, answer)
                        continue
                    files, mask = await self.in_thread(wire.unpack_results, answer)
                    seconds = time.monotonic() - start
                    self.metrics.edited(lease.model, seconds, answer.get("batch"))
                    yield Edited(files=files, mask=mask, model=lease.model, sampling=answer["sampling"], seconds=seconds)
                    return
        raise EditFailedError("the edit ended without a result; see the log")

    async def find_mask(self, call: EditCall, *, model: str = DEFAULT, client: str = LOCAL) -> FoundMask:
        """Return where an edit would take place; the arguments are those of :meth:`edit`."""
        async with self._at_work(call, model) as (lease, deadline):
            call = await self._with_term(call, client, lease, deadline)
            body = await self._pack(call, lease, deadline)
            answer = await self._ask(lease, "/masks", body, deadline)
            return await self.in_thread(wire.unpack_found_mask, answer)

    async def suggest_term(self, image: Picture, prompt: str, *, model: str = DEFAULT, client: str = LOCAL) -> str | None:
        """Return the noun of a prompt that the picture shows least; None if the prompt has none.

        Args:
            image: the picture.
            prompt: what it shall show; only the first 500 characters count.
            model: the reference of a model.
            client: whose turn it is where clients take turns.
        """
        call = EditCall(image=image, prompt=prompt)
        async with self._at_work(call, model) as (lease, deadline):
            return (await self._with_term(call, client, lease, deadline)).term

    def models(self) -> list[ModelVersion]:
        """Return the models that a request may name, the default first; of those not loaded yet only the reference is known."""
        return self._models.versions()

    async def score(self, body: bytes, kind: str) -> tuple[int, bytes]:
        """Return the status and the content of the model's answer to a request in MLflow's form.

        Args:
            body: the request's body.
            kind: the type of the content.
        """
        deadline = asyncio.get_running_loop().time() + self._admission.limits.seconds
        with self._admission.admit(file_bytes=len(body)):
            async with self._models.lease(DEFAULT) as lease, self._until(deadline):
                answer = await lease.process.ask("/invocations", body, kind)
        return answer.status_code, answer.content

    def charge(self, client: str, share: float = 1) -> None:
        """Count a request, or a share of one, for its client, before any work is done for it and whatever becomes of it.

        Raises:
            BusyError: the client has sent too much.
        """
        self._admission.charge(client, share)

    async def counted(self, request: Request) -> AsyncIterator[None]:
        """Charge a request before it is read, and do not shut down until its answer is sent; a dependency of routes."""
        self._admission.check_open()
        self.charge(name_of(request))
        with self._admission.answering():
            yield

    async def in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return ``work(*arguments)``, done in one of the threads for pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._pictures, work, *arguments)

    @asynccontextmanager
    async def _at_work(self, call: EditCall, model: str) -> AsyncIterator[tuple[Lease, float]]:
        """Let a request in and hand it a model, and the time on the event loop's clock when it is given up."""
        deadline = asyncio.get_running_loop().time() + self._admission.limits.seconds
        pixels = call.image.pixels
        self._admission.check(pixels=pixels, images=call.images, steps=call.steps or 1)
        with self._admission.admit(pixels=pixels, images=call.images, file_bytes=len(call.image.file)):
            async with AsyncExitStack() as stack:
                async with self._until(deadline):  # a model may have to be loaded
                    lease = await stack.enter_async_context(self._models.lease(model))
                steps = call.steps or int(lease.model.sampling["steps"])
                self._admission.check(pixels=pixels, images=call.images, steps=steps)
                yield lease, deadline

    @asynccontextmanager
    async def _until(self, deadline: float) -> AsyncIterator[None]:
        """Bound the time of a block.

        Raises:
            DeadlineExceededError: it takes too long.
        """
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError as error:
            seconds = self._admission.limits.seconds
            raise DeadlineExceededError(f"the request was not done within {seconds:g} seconds, and was given up") from error

    async def _with_term(self, call: EditCall, client: str, lease: Lease, deadline: float) -> EditCall:
        """Return a call with the term that its mask is found by, unless it has one, needs none, or its prompt has no noun."""
        if call.term is not None or call.mask_mode is not MaskMode.PREDICTED:
            return call
        async with self._until(deadline):
            words = await self._language.run(client, _nouns, call.prompt[:TERM_WITHIN])
        if not words:
            return call
        body = await self.in_thread(wire.pack_words, call.image, words)
        found = (await self._ask(lease, "/terms", body, deadline))["probabilities"]
        return replace(call, term=min(words, key=lambda word: float(found[word])))

    async def _pack(self, call: EditCall, lease: Lease, deadline: float) -> bytes:
        return await self.in_thread(wire.pack_call, call, deadline - asyncio.get_running_loop().time(), lease.model)

    async def _lines(self, lease: Lease, path: str, body: bytes, deadline: float) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a model's answer until the deadline."""
        async with aclosing(lease.process.stream(path, body)) as lines:
            while True:
                async with self._until(deadline):
                    line = await anext(lines, None)
                if line is None:
                    return
                yield line

    async def _ask(self, lease: Lease, path: str, body: bytes, deadline: float) -> dict[str, Any]:
        """Return a model's answer of one line."""
        async with aclosing(self._lines(lease, path, body, deadline)) as lines:
            return _checked(await self.in_thread(wire.unpack, await anext(lines, b"{}")))


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer of a model.

    Raises:
        InputError: the model refuses the request.
        DeadlineExceededError: the model has given it up.
        EditFailedError: it failed.
    """
    if "error" not in answer:
        return answer
    reason = first_line(answer["error"])
    match answer.get("kind"):
        case "refused":
            raise InputError(reason)
        case "given up":
            raise DeadlineExceededError(reason)
        case _:
            logger.error("a model failed: %s", reason)
            raise EditFailedError("the edit failed; see the log")


def _nouns(prompt: str) -> list[str]:
    """Return the nouns of a prompt that a picture can show, in order.

    Raises:
        ModelUnavailableError: WordNet is missing.
    """
    from stages.language.phrases import find_nouns  # slow to import, and not every request needs it
    from stages.language.units import find_units

    try:
        units = find_units(prompt)
        return [units[place].word for place in find_nouns(units)][: wire.MAX_WORDS]
    except InputError as error:
        logger.warning("terms cannot be suggested: %s", error)
        raise ModelUnavailableError("terms cannot be suggested: WordNet is missing", retry_after=60) from error
