"""What the service and the processes of its models say to each other: JSON, with the files of pictures in base64."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from stages.serving.calls import EditCall, FoundMask, ModelVersion, Picture, Progress

MAX_WORDS = 64  # that are looked for in a picture at once
LEAST = 0.001  # seconds
QUICK = 1  # zlib's level: the mask goes to a process of this machine


def pack_call(call: EditCall, seconds: float, model: ModelVersion) -> bytes:
    """Return an edit as the body of a request.

    Args:
        call: the edit.
        seconds: after which it is not wanted any more.
        model: which edits, and which the results name in their metadata.
    """
    return _pack(
        call.image.file,
        mask=None if call.mask is None else _encode(call.mask),
        mask_mode=call.mask_mode.value,
        prompt=call.prompt,
        negative_prompt=call.negative_prompt,
        term=call.term,
        source_term=call.source_term,
        context=call.context,
        images=call.images,
        seed=call.seed,
        strength=call.strength,
        guidance_scale=call.guidance_scale,
        steps=call.steps,
        previews=call.previews,
        model=model.name if model.version is None else f"models:/{model.name}/{model.version}",
        deadline=max(seconds, LEAST),
    )


def pack_words(image: Picture, words: Sequence[str]) -> bytes:
    """Return a question after words in a picture as the body of a request."""
    return _pack(image.file, words=list(words))


def unpack(line: bytes) -> dict[str, Any]:
    """Return one line of an answer.

    Raises:
        ValueError: it is not a JSON object.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError(f"not a JSON object: {line[:100]!r}")  # noqa: TRY004 - what was read is wrong, not what was passed
    return content


def unpack_progress(answer: Mapping[str, Any]) -> Progress:
    """Return the progress that a line reports."""
    previews = tuple(_decode(text) for text in answer.get("previews") or ())
    return Progress(step=answer["step"], of=answer["of"], previews=previews)


def unpack_results(answer: Mapping[str, Any]) -> tuple[tuple[bytes, ...], Image.Image | None]:
    """Return the PNG files of the results, and the mask if there is one."""
    return tuple(base64.b64decode(text) for text in answer["images"]), _mask(answer, "mask")


def unpack_found_mask(answer: Mapping[str, Any]) -> FoundMask:
    """Return where an edit would take place."""
    return FoundMask(found=_decode(answer["found"]).convert("L"), draft=_mask(answer, "draft"))


def _mask(answer: Mapping[str, Any], name: str) -> Image.Image | None:
    return None if answer.get(name) is None else _decode(answer[name]).convert("L")


def _decode(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def _encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=QUICK)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _pack(image: bytes, **content: object) -> bytes:
    given = {name: value for name, value in content.items() if value is not None}  # a version may not know what came later
    rest = json.dumps(given, separators=(",", ":")).encode()
    return b'{"image":"%b",%b' % (base64.b64encode(image), rest[1:])  # through dumps, the file would be copied three times
