"""Names of many tars in one text, as WebDataset writes them: globs, braces and lists."""

import re

from braceexpand import braceexpand
from fsspec import available_protocols

from stages.core.errors import InputError

SEPARATOR = "::"  # between tars; fsspec has the same sign between the links of a chain, such as simplecache::s3://…
CONTAINERS = ("zip", "tar", "libarchive", "simplecache", "filecache", "blockcache", "cached", "dir", "reference")
"""Protocols of fsspec whose URL names something inside the next link of a chain; URLs of others stand alone."""


def expand(path: str) -> list[str]:
    """Return the globs that a source's path stands for: ``{00..02}.tar`` is three, ``a.tar::b.tar`` two.

    Raises:
        InputError: a brace or a part of a list is missing.
    """
    try:
        globs = [glob for chain in _chains(path) for glob in braceexpand(chain)]
    except ValueError as error:
        raise InputError(f"ingest.source.path = {path!r}: a brace has no partner") from error
    if any("" in glob.split(SEPARATOR) for glob in globs):
        raise InputError(f"ingest.source.path = {path!r}: nothing stands before or after a {SEPARATOR!r}")
    return globs


def _chains(path: str) -> list[str]:
    """Return the members of a list; those that are chains of file systems keep their links."""
    *pieces, last = path.split(SEPARATOR)
    chains, links = list[str](), ""
    for piece in pieces:
        links += piece
        if _is_link(piece):
            links += SEPARATOR
        else:
            chains.append(links)
            links = ""
    return [*chains, links + last]


def _is_link(piece: str) -> bool:
    """Return whether a piece leads into the next one: a bare protocol, or the URL of something in a container."""
    protocol, is_url, _ = piece.partition("://")
    return protocol in (CONTAINERS if is_url else available_protocols())


def common_folder(patterns: list[str]) -> str:
    """Return the folder that the paths of all patterns begin with, up to its last slash; messages leave it out."""
    folders = [re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/") for pattern in patterns]
    shared = folders[0][0] + folders[0][1]
    while not all((folder + slash).startswith(shared) for folder, slash, _ in folders):
        shared = shared.rstrip("/").rpartition("/")[0] + "/" if "/" in shared.rstrip("/") else ""
    return shared
