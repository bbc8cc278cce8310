"""Names of many tars in one text, as WebDataset writes them: globs, braces and lists."""

import re

from braceexpand import braceexpand
from fsspec import available_protocols

from stages.core.errors import InputError

SEPARATOR = "::"  # between tars; fsspec has the same sign between the links of a chain, such as simplecache::s3://…


def expand(path: str) -> list[str]:
    """Return the globs that a source's path stands for: ``{00..02}.tar`` is three, ``a.tar::b.tar`` two.

    Raises:
        InputError: a brace or a part of a list is missing.
    """
    pieces = path.split(SEPARATOR)
    is_chain = any(piece.partition("://")[0] in available_protocols() for piece in pieces[:-1])
    try:
        globs = [glob for piece in ([path] if is_chain else pieces) for glob in braceexpand(piece)]
    except ValueError as error:
        raise InputError(f"ingest.source.path = {path!r}: a brace has no partner") from error
    if "" in globs:
        raise InputError(f"ingest.source.path = {path!r}: nothing stands before or after a {SEPARATOR!r}")
    return globs


def common_folder(patterns: list[str]) -> str:
    """Return the folder that the paths of all patterns begin with, up to its last slash; messages leave it out."""
    folders = [re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/") for pattern in patterns]
    shared = folders[0][0] + folders[0][1]
    while not all((folder + slash).startswith(shared) for folder, slash, _ in folders):
        shared = shared.rstrip("/").rpartition("/")[0] + "/" if "/" in shared.rstrip("/") else ""
    return shared
