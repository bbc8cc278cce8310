"""``POST /v1/images/edits`` as the clients of OpenAI's API send it, and ``GET /v1/models``."""

import base64
import time
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import FormData, UploadFile

from stages.common.text import one_line
from stages.core.errors import InputError, cut
from stages.editing.settings import check_prompt
from stages.serving.bodies import only_utf8
from stages.serving.calls import EditCall, Edited, EditFailedError
from stages.serving.clients import name_of, unless_gone
from stages.serving.edit_form import AUTO, EditForm, read_form
from stages.serving.service import Service
from stages.serving.uploads import check_picture, decode, decode_alpha_mask

MAX_FIELDS, MAX_FILES, MAX_FIELD_BYTES = 64, 4, 128 * 2**10
IMAGE_NAMES = ("image", "image[]", "image[0]")  # of a file, and of a list of one


def images_api(service: Service) -> APIRouter:
    """Return the routes of the API."""
    api = APIRouter(prefix="/v1")

    @api.get("/models")
    async def models() -> dict[str, Any]:
        """List the models that a request may name."""
        found = [
            {"id": each.reference, "object": "model", "created": 0, "owned_by": each.name, "version": each.version}
            for each in service.models()
        ]
        return {"object": "list", "data": found}

    @api.post("/images/edits", dependencies=[Depends(service.counted), Depends(only_utf8)])
    async def edits(request: Request) -> Response:
        """Edit one picture, and give up when the client leaves."""
        async with request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES) as form:
            fields = read_form((name, value) for name, value in form.multi_items() if isinstance(value, str))
            image, mask = await _read_files(form)
        edited = await unless_gone(request, _edit(service, name_of(request), fields, image, mask))
        return Response(await service.in_thread(_answer, edited), media_type="application/json")

    return api


async def _edit(service: Service, client: str, fields: EditForm, image: bytes, mask: bytes | None) -> Edited:
    call = await decode(client, _call, fields, image, mask)
    async with aclosing(service.edit(call, model=fields.model, client=client)) as events:
        async for event in events:
            if isinstance(event, Edited):
                return event
    raise EditFailedError("the edit ended without a result")


async def _read_files(form: FormData) -> tuple[bytes, bytes | None]:
    """Return the files of a request: a picture, and a mask if there is one.

    Raises:
        InputError: they are others.
    """
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    images = [file for name, file in files if name in IMAGE_NAMES]
    masks = [file for name, file in files if name == "mask"]
    if len(images) != 1:
        raise InputError(f"image: one picture is edited at a time, {len(images)} are given")
    if len(masks) > 1:
        raise InputError(f"mask: {len(masks)} are given, allowed is one")
    if len(files) > len(images) + len(masks):
        other = next(name for name, _ in files if name not in (*IMAGE_NAMES, "mask"))
        raise InputError(f"{cut(one_line(other))}: no such field for a file")
    return await images[0].read(), await masks[0].read() if masks else None


def _call(fields: EditForm, image_file: bytes, mask_file: bytes | None) -> EditCall:
    """Return the call that the fields and files of a request make.

    Both files are decoded in one go: a decoded picture that waited for its mask would count nowhere.

    Raises:
        InputError: there is no prompt, or the files are not a picture and a mask of one size.
    """
    prompt = check_prompt(fields.prompt)
    image = check_picture(image_file, "image")
    _check_size(fields.size, image.size)
    mask = None if mask_file is None else decode_alpha_mask(mask_file, "mask")
    if mask is not None and mask.size != image.size:
        raise InputError(f"mask: is {_text(mask.size)}, the image {_text(image.size)}: they must have one size")
    return EditCall(
        image=image,
        prompt=prompt,
        negative_prompt=one_line(fields.negative_prompt),
        mask=mask,
        mask_mode=fields.mode(has_mask=mask is not None),
        term=one_line(fields.term) or None,
        source_term=one_line(fields.source_term) or None,
        context=fields.context,
        images=fields.n,
        seed=fields.seed,
        strength=fields.strength,
        guidance_scale=fields.guidance_scale,
        steps=fields.steps,
    )


def _check_size(asked: str, own: tuple[int, int]) -> None:
    """Raise InputError for a size of the results that is not the picture's own."""
    if asked not in (AUTO, _text(own)):
        raise InputError(f"size = {cut(repr(asked))}: results have the picture's own size, {_text(own)} or '{AUTO}'")


def _text(size: tuple[int, int]) -> str:
    return "{}x{}".format(*size)


def _answer(edited: Edited) -> bytes:
    """Return the results as OpenAI's API does, with the mark and the settings in each PNG file."""
    data = b",".join(b'{"b64_json":"%b"}' % base64.b64encode(file) for file in edited.files)
    return b'{"created":%d,"data":[%b],"output_format":"png"}' % (time.time(), data)
