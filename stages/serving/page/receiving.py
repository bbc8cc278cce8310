"""Receives the pictures of the page, in place of Gradio.

Gradio leaves on disk what it has of uploads that break off, and keeps something of every upload in memory for its progress.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.datastructures import UploadFile

from stages.common.only_uploads import UPLOAD
from stages.core.errors import InputError
from stages.serving.bodies import only_utf8
from stages.serving.page.room import check_room, needing_room
from stages.serving.service import Service
from stages.serving.uploads import MAX_BYTES

FIELD = "files"  # as the page sends it
PROGRESS = f"{UPLOAD}_progress"
MAX_NAME = 60  # characters of a file's name, which may have 255 bytes


def receive_uploads(service: Service, folder: Path) -> APIRouter:
    """Return the route of uploads, which count for their clients and need room.

    Args:
        service: what counts them.
        folder: where they are kept, each in a folder of its own.
    """
    router = APIRouter()

    @router.post(UPLOAD, dependencies=[Depends(service.counted), Depends(only_utf8)])
    async def upload(request: Request) -> list[str]:
        """Keep one file, and return its path."""
        await check_room(folder)
        async with request.form(max_files=1, max_fields=0) as form:
            file = form.get(FIELD)
            if not isinstance(file, UploadFile):
                raise HTTPException(400, f"{FIELD}: one file is uploaded at a time")
            if (file.size or 0) > MAX_BYTES:
                raise HTTPException(413, f"the picture is larger than {MAX_BYTES:,} bytes")
            return [str(await asyncio.to_thread(_keep, file, folder))]

    @router.get(PROGRESS, status_code=204)
    async def progress() -> None:
        """Report nothing; the page asks, and shows that it waits."""

    return router


def read_upload(path: Path) -> bytes:
    """Return what was uploaded.

    Raises:
        InputError: it was removed, because it is old.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("the upload is gone; choose the picture again") from error


def _keep(file: UploadFile, folder: Path) -> Path:
    """Write an upload to a new folder, and return its path.

    Raises:
        BusyError: the disk is full.
    """
    name = "".join(char for char in file.filename or "" if char.isalnum() or char in "-_ .")
    with needing_room():
        kept = Path(tempfile.mkdtemp(dir=folder)) / (name[-MAX_NAME:].strip(" .") or "picture")
        with kept.open("wb") as target:
            shutil.copyfileobj(file.file, target)
    return kept
