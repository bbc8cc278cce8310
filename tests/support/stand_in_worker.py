"""A process that speaks as a model's does, without a model: it inverts colours, and waits as long as the prompt says.

The prompt of an edit is the name of a way to behave, for example "slow"; any other is edited at once. One that is "held" waits
until the test releases it.
"""

import asyncio
import base64
import io
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image, ImageOps

SAMPLING = {"steps": 4, "strength": 0.8, "guidance_scale": 3.0}
ERRORS = {"refuse": ("a word is wrong", "refused"), "late": ("too late", "given up"), "fail": ("at /a/path", "failed")}
SECONDS = {"slow": 1.0, "long": 20.0, "endless": 600.0}

app = FastAPI()


def encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def lines_of(call: dict[str, Any]) -> list[dict[str, Any]]:
    image = Image.open(io.BytesIO(base64.b64decode(call["image"])))
    mask = encode(Image.new("L", image.size, 255)) if call["mask_mode"] != "none" else None
    previews = [encode(image)] * call["images"] if call["previews"] else None
    edits = [encode(ImageOps.invert(image))] * call["images"]
    steps = [{"step": step, "of": 4, "previews": previews or []} for step in range(1, 5)]
    if call["prompt"] in ERRORS:
        reason, kind = ERRORS[call["prompt"]]
        return [*steps, {"error": reason, "kind": kind}]
    return [*steps, {"images": edits, "mask": mask, "sampling": {**SAMPLING, "call": call}, "batch": 1}]


def note(word: str) -> None:
    """Write down what happened, beside the model, where a test can read it."""
    with Path(sys.argv[1], "notes").open("a") as notes:
        notes.write(f"{word}\n")


def wait_for_release() -> None:
    while not Path(sys.argv[1], "released").exists():
        time.sleep(0.02)


@app.get("/info")
async def info() -> dict[str, Any]:
    return {"sampling": SAMPLING}


@app.post("/edits")
async def edits(request: Request) -> StreamingResponse:
    call = await request.json()

    async def answer() -> AsyncIterator[str]:
        note("began")
        try:
            *steps, last = lines_of(call)
            if call["prompt"] == "held":
                await asyncio.to_thread(wait_for_release)
            for line in steps:
                yield f"{json.dumps(line)}\n"
                await asyncio.sleep(SECONDS.get(call["prompt"], 0) / len(steps))
            if call["prompt"] == "die":
                os._exit(1)
            yield f"{json.dumps(last)}\n"
            note("done")
        except asyncio.CancelledError:
            note("given up")
            raise

    return StreamingResponse(answer())


@app.post("/masks")
async def masks(request: Request) -> dict[str, Any]:
    image = (await request.json())["image"]
    return {"found": image, "draft": image}


@app.post("/terms")
async def terms(request: Request) -> dict[str, Any]:
    return {"probabilities": {word: 1 / len(word) for word in (await request.json())["words"]}}


@app.post("/invocations")
async def invocations(request: Request) -> Response:
    return Response(await request.body(), 400 if b"wrong" in await request.body() else 200)


def end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    if Path(sys.argv[1], "broken").exists():
        sys.exit("the model is broken")
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    uvicorn.run(app, uds=sys.argv[2], log_level="error")
