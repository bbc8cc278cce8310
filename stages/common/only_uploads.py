"""Which files a request of a page may name.

Gradio opens any path and fetches any URL that a request names as a file. It checks paths only in apps that it has launched
itself, not in those that are mounted in another app.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request

MAX_PATHS = 8  # in one request; pages send one
UPLOAD = "/gradio_api/upload"  # where pages send files; what Gradio has there takes none


class OnlyUploads:
    """A dependency of all of Gradio's routes, which refuses requests that name a URL or a file that was not uploaded."""

    def __init__(self, folder: Path | None) -> None:
        """Remember the folder of uploads, an absolute path; None if the page has no use for files."""
        self._folder = folder

    async def __call__(self, request: Request) -> None:
        """Check one request.

        Raises:
            HTTPException: it is refused.
        """
        if any("://" in str(value) for value in request.path_params.values()):
            raise HTTPException(403, "the request names an address")
        if request.scope["path"] == UPLOAD:
            raise HTTPException(403, "the page takes no files")
        if request.method == "POST":
            for number, path in enumerate(_paths(await _json(request)), 1):
                if number > MAX_PATHS:
                    raise HTTPException(403, f"the request names more than {MAX_PATHS} files")
                if not self._is_upload(path):
                    raise HTTPException(403, "the request names a file that was not uploaded, or is gone")

    def _is_upload(self, path: object) -> bool:
        if self._folder is None or not isinstance(path, str):
            return False
        plain = Path(os.path.normpath(path))
        return plain.is_relative_to(self._folder) and plain.is_file()


async def _json(request: Request) -> Any:
    """Return the content of a request, None without any.

    Raises:
        HTTPException: it is not JSON.
    """
    try:
        return await request.json() if await request.body() else None
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the request is not JSON") from error


def _paths(content: Any) -> Iterator[object]:
    """Yield what a request names as paths, wherever in it."""
    rest = [content]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            if "path" in each:
                yield each["path"]
            rest += each.values()
        elif isinstance(each, list):
            rest += each
