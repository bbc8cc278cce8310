"""Requests that a careless or hostile client might send, drawn from a seed: every one must be answered, and none by 500."""

import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL import Image

EDITS_PATH = "/v1/images/edits"
PATHS = (
    EDITS_PATH,
    "/v1/models",
    "/invocations",
    "/health",
    "/ready",
    "/metrics",
    "/v1/../etc/passwd",
    "/%00",
    "/v1/images/edits/",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
NUMBERS = (
    "",
    "0",
    "-1",
    "1",
    "2",
    "17",
    "1e9",
    "nan",
    "inf",
    "-inf",
    "9" * 400,
    "0x10",
    "1.5",
    "١",
    "true",
    "null",
    "[]",
    "\x00",
)
TEXTS = (
    "",
    " ",
    "\n",
    "a dog",
    "\x00",
    "\ud7ff",
    "\u202eevil",
    "🦊" * 50,
    "x" * 5000,
    "../../etc/passwd",
    "%s%n",
    "{{7*7}}",
    "<b>",
)
NUMERIC = ("n", "seed", "strength", "guidance_scale", "steps", "output_compression")
WORDS = ("prompt", "negative_prompt", "term", "source_term", "mask_mode", "size", "model", "response_format", "user", "other")
CHARSETS = ("undefined", "punycode", "none")
FIELD = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff a dog\r\n--b--\r\n'  # of a form whose boundary is b
QUICK = {"steps": "1", "strength": "1", "mask_mode": "none"}


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request: the arguments of httpx's ``request``."""

    method: str = "POST"
    path: str = EDITS_PATH
    arguments: dict[str, Any] = field(default_factory=dict)


def draw_attempts(seed: int, count: int, picture: Image.Image) -> Iterator[Attempt]:
    """Yield requests that depend on the seed alone.

    Args:
        seed: decides them all.
        count: how many.
        picture: what a sound request would have edited.
    """
    chance = random.Random(seed)
    sound = _file(picture)
    kinds: tuple[Callable[[random.Random, bytes], Attempt], ...] = (
        _odd_fields,
        _damaged_picture,
        _odd_mask,
        _odd_parts,
        _odd_body,
        _odd_json,
        _odd_headers,
        _odd_path,
    )
    for _ in range(count):
        yield chance.choice(kinds)(chance, sound)


async def send(client: httpx.AsyncClient, attempt: Attempt) -> int | None:
    """Return the status of the answer, or None for a request that the client itself would not send."""
    try:
        answer = await client.request(attempt.method, attempt.path, **attempt.arguments)
    except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError):
        return None
    return answer.status_code


def _odd_fields(chance: random.Random, sound: bytes) -> Attempt:
    fields: dict[str, str] = {"prompt": "a dog", **QUICK}
    for _ in range(chance.randint(1, 3)):
        name = chance.choice(NUMERIC + WORDS)
        fields[name] = chance.choice(NUMBERS if name in NUMERIC else TEXTS)
    return _edit(sound, fields)


def _damaged_picture(chance: random.Random, sound: bytes) -> Attempt:
    return _edit(_damaged(chance, sound))


def _odd_mask(chance: random.Random, sound: bytes) -> Attempt:
    width, height = chance.choice(((64, 64), (1, 1), (3000, 2)))
    mask = _file(Image.new(chance.choice(("RGBA", "LA", "L", "1", "P", "RGB")), (width, height)))
    return Attempt(arguments={"files": {"image": sound, "mask": _damaged(chance, mask)}, "data": {"prompt": "a dog"} | QUICK})


def _odd_parts(chance: random.Random, sound: bytes) -> Attempt:
    names = [
        chance.choice(("image", "image[]", "mask", "prompt", "\x00", "f" * 300)) for _ in range(chance.choice((0, 2, 9, 300)))
    ]
    files = [(name, (chance.choice(TEXTS)[:200] or "f", sound[: chance.randint(0, 99)])) for name in names]
    return Attempt(arguments={"files": files, "data": {"prompt": "a dog"}})


def _odd_body(chance: random.Random, sound: bytes) -> Attempt:
    del sound
    form = "multipart/form-data; boundary=b"
    kind = chance.choice(
        (
            "multipart/form-data",
            form,
            *(f"{form}; charset={charset}" for charset in CHARSETS),
            "application/x-www-form-urlencoded",
            "a",
            "",
        )
    )
    body = chance.choice((b"", b"--b\r\n", b"--b--", FIELD, FIELD, chance.randbytes(500), b"a=b&" * 500, b"--b\r\n" * 500))
    return Attempt(
        path=chance.choice((EDITS_PATH, "/invocations")), arguments={"content": body, "headers": {"content-type": kind}}
    )


def _odd_json(chance: random.Random, sound: bytes) -> Attempt:
    del sound
    row: dict[str, object] = {"image": chance.choice(TEXTS), "prompt": chance.choice((*TEXTS, 5, None, [], {}))}
    content = chance.choice(
        (
            json.dumps({"dataframe_records": [row], "params": {chance.choice(NUMERIC): chance.choice(NUMBERS)}}),
            json.dumps({"dataframe_split": row}),
            json.dumps({"inputs": row}),
            "[" * 20_000,
            '{"a":' * 20_000,
            "null",
            "",
        )
    )
    return Attempt(path="/invocations", arguments={"content": content, "headers": {"content-type": "application/json"}})


def _odd_headers(chance: random.Random, sound: bytes) -> Attempt:
    name = chance.choice(
        ("host", "origin", "authorization", "x-forwarded-for", "range", "transfer-encoding", "cookie", "expect")
    )
    value = chance.choice(("", "x", "chunked", "http://evil.example", "Bearer \x7f", "Basic ====", "a" * 4000, "bytes=0-"))
    return Attempt(arguments={**_edit(sound).arguments, "headers": {name: value}})


def _odd_path(chance: random.Random, sound: bytes) -> Attempt:
    del sound
    path = chance.choice((*PATHS, "/" + "a" * chance.randint(1, 4000), f"/{chance.choice(TEXTS)[:50]}"))
    return Attempt(method=chance.choice(METHODS), path=path)


def _edit(image: bytes, fields: dict[str, str] | None = None) -> Attempt:
    return Attempt(arguments={"files": {"image": ("a.png", image)}, "data": fields or {"prompt": "a dog", **QUICK}})


def _damaged(chance: random.Random, data: bytes) -> bytes:
    """Return a file with some bytes changed, cut, or doubled; sometimes as it is."""
    changed = bytearray(data)
    match chance.randrange(4):
        case 0:
            for _ in range(chance.randint(1, 20)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
        case 1:
            del changed[chance.randrange(len(changed)) :]
        case 2:
            changed += changed[chance.randrange(len(changed)) :]
    return bytes(changed)


def _file(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()
