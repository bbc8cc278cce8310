"""``python -m stages.serving.worker FOLDER SOCKET``: the process that runs one model and answers over a Unix socket.

A registered version is run on the code that was registered with it, any other model folder on the present one. The process
ends with its standard input, which whoever started it holds open.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image
from starlette.requests import ClientDisconnect

from stages.common.standard_input import end_with_standard_input
from stages.core.errors import InputError
from stages.core.params import Sampling
from stages.editing.finding import find_masks, probabilities
from stages.editing.job import EditJob
from stages.editing.loading import load_folder
from stages.editing.metadata import describe
from stages.editing.pictures import encode_picture
from stages.editing.request import MaskMode, NothingToMaskError
from stages.serving.batching import Batcher, Edited, GivenUpError
from stages.serving.clients import unless_gone
from stages.serving.fields import EditFields, TermFields, parse

PREVIEW_EVERY = 3  # steps
HELP = "say what stands there now (source_term) or where (a mask), or edit everywhere (mask_mode none)"
PIECE = 2**20  # characters of an answer that are sent at once
Answer = TypeVar("Answer")
Line = dict[str, Any]

_decoder = ThreadPoolExecutor(1, thread_name_prefix="pictures")
"""No more than one hostile picture is unpacked at a time."""

logger = logging.getLogger(__name__)


def make_app(sampling: Sampling, batcher: Batcher) -> FastAPI:
    """Return the application around a model.

    Args:
        sampling: how it edits unless a request says otherwise.
        batcher: runs it.
    """
    app = FastAPI(openapi_url=None)

    @app.get("/info")
    async def info() -> Line:
        return {"sampling": sampling.model_dump()}

    @app.post("/edits")
    async def edits(request: Request) -> StreamingResponse:
        lines = _encoded(_edit_lines(await _read(request), sampling, batcher))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @app.post("/masks")
    async def masks(request: Request) -> Response:
        return await _answer(request, _find_masks(await request.body(), sampling, batcher))

    @app.post("/terms")
    async def terms(request: Request) -> Response:
        return await _answer(request, _find_terms(await request.body(), batcher))

    return app


async def _read(request: Request) -> bytes:
    """Return the body of a request, which does not keep it, as Starlette's would: it may have many megabytes."""
    return b"".join([part async for part in request.stream()])


async def _edit_lines(body: bytes, sampling: Sampling, batcher: Batcher) -> AsyncGenerator[Line]:
    """Yield the lines of an answer: the progress, then the results or an error; closing the iterator gives the edit up."""
    loop = asyncio.get_running_loop()
    steps: asyncio.Queue[tuple[int, int, list[Image.Image]] | None] = asyncio.Queue()
    request = None
    try:
        fields = await asyncio.to_thread(parse, EditFields, body)
        end, has_previews, model = time.monotonic() + fields.deadline, fields.previews, fields.model
        job = await _in_turn(fields.job, sampling)
        del body, fields  # they hold the picture's file, which is decoded now

        def report(step: int, of: int, previews: Callable[[], list[Image.Image]]) -> None:
            is_shown = has_previews and (step % PREVIEW_EVERY == 0 or step == of)
            loop.call_soon_threadsafe(steps.put_nowait, (step, of, previews() if is_shown else []))

        request = batcher.submit(job, report)
        request.answer.add_done_callback(lambda _: loop.call_soon_threadsafe(steps.put_nowait, None))
        while (progress := await asyncio.wait_for(steps.get(), end - time.monotonic())) is not None:
            step, of, previews = progress
            line: Line = {"step": step, "of": of}
            if previews:
                line["previews"] = await asyncio.to_thread(_encode_all, previews)
            yield line
        yield await asyncio.to_thread(_results, request.answer.result(), job, model)
    except Exception as error:  # noqa: BLE001 - the answer has begun, so that the error is a line of it
        yield _error(error)
    finally:
        if request is not None:
            request.given_up.set()


async def _find_masks(body: bytes, sampling: Sampling, batcher: Batcher) -> Line:
    fields = await asyncio.to_thread(parse, EditFields, body)
    job = replace(await _in_turn(fields.job, sampling), mask_mode=MaskMode.PREDICTED)
    left = Event()

    def give_up(_: object) -> None:
        if left.is_set():
            raise GivenUpError

    try:
        masks = await _within(fields.deadline, batcher.call(partial(find_masks, job=job, on_step=give_up)))
    finally:
        left.set()
    draft = None if masks.draft is None else await asyncio.to_thread(encode_picture, masks.draft)
    return {"found": await asyncio.to_thread(encode_picture, masks.found), "draft": draft}


async def _find_terms(body: bytes, batcher: Batcher) -> Line:
    fields = await asyncio.to_thread(parse, TermFields, body)
    picture = await _in_turn(fields.picture)
    found = await _within(fields.deadline, batcher.call(partial(probabilities, picture=picture, words=fields.words)))
    return {"probabilities": found}


async def _in_turn(decode: Callable[..., Answer], *arguments: Any) -> Answer:
    """Return ``decode(*arguments)``, done once the pictures of earlier requests are decoded."""
    return await asyncio.get_running_loop().run_in_executor(_decoder, decode, *arguments)


async def _within(seconds: float, future: Future[Answer]) -> Answer:
    """Return a result of the model's thread, which need not begin with it once the seconds are over."""
    return await asyncio.wait_for(asyncio.wrap_future(future), seconds)


async def _answer(request: Request, work: Coroutine[Any, Any, Line]) -> JSONResponse:
    try:
        return JSONResponse(await unless_gone(request, work))
    except Exception as error:  # noqa: BLE001 - it becomes the answer
        line = _error(error)
        return JSONResponse(line, 400 if line["kind"] == "refused" else 504 if line["kind"] == "given up" else 500)


def _results(edited: Edited, job: EditJob, model: str | None) -> Line:
    mask = edited.result.mask
    return {
        "images": [encode_picture(each, describe(job, number, model)) for number, each in enumerate(edited.result.images)],
        "mask": None if mask is None else encode_picture(mask),
        "sampling": job.sampling.model_dump(),
        "batch": edited.batch,
    }


def _encode_all(pictures: list[Image.Image]) -> list[str]:
    return [encode_picture(picture) for picture in pictures]


def _error(error: Exception) -> Line:
    """Return an error as a line without traceback or path; what is not the request's fault goes to the log."""
    match error:
        case NothingToMaskError():
            return {"error": f"{error}: {HELP}", "kind": "refused"}
        case InputError():
            return {"error": str(error), "kind": "refused"}
        case TimeoutError():
            return {"error": "not done in time", "kind": "given up"}
        case GivenUpError() | ClientDisconnect():
            return {"error": "given up: nobody waits for it any more", "kind": "given up"}
    logger.error("an edit failed", exc_info=error)
    return {"error": f"the edit failed: {type(error).__name__}; see the log", "kind": "failed"}


async def _encoded(lines: AsyncGenerator[Line]) -> AsyncIterator[bytes]:
    async with aclosing(lines):
        async for line in lines:
            text = json.dumps(line, ensure_ascii=False)
            del line  # it may hold large pictures, and sending takes a while
            for start in range(0, len(text), PIECE):
                end = "\n" if start + PIECE >= len(text) else ""
                yield (text[start : start + PIECE] + end).encode()


def load_app(folder: Path) -> FastAPI:
    """Load the model in a folder, and return the application around it.

    A registered model answers MLflow's ``/invocations`` too.
    """
    if not (folder / "MLmodel").is_file():
        editor, sampling = load_folder(folder)
        return make_app(sampling, Batcher(editor))

    from stages.tracking.server import load_served

    served = load_served(str(folder))
    app = make_app(served.sampling, Batcher(served.editor))
    app.mount("", served.app)
    return app


if __name__ == "__main__":
    end_with_standard_input()
    model_folder, socket = sys.argv[1:]
    uvicorn.run(load_app(Path(model_folder)), uds=socket, access_log=False, log_level="warning")
