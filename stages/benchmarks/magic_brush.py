"""MagicBrush (Zhang et al. 2023): edits by a person, in sessions of one to three turns.

A folder holds ``edit_sessions.json`` (id → turns with ``input``, ``mask``, ``output``), ``global_descriptions.json`` (id → file
name → what the picture shows), ``local_descriptions.json`` (id → file name of an output → what its changed part shows) and
``images/ID/``. A mask is the picture with what may change cut out, transparent there; it may have another size.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from stages.benchmarks.case import BenchmarkCase, Read, whole
from stages.benchmarks.files import inside, picture, read_object, text
from stages.common.text import one_line
from stages.core.errors import InputError
from stages.corpus.parts import printable
from stages.editing.pictures import read_mask

SESSIONS, PICTURES = "edit_sessions.json", "images"
GLOBAL, LOCAL = "global_descriptions.json", "local_descriptions.json"
OPAQUE = 255


@dataclass(frozen=True, kw_only=True)
class _Descriptions:
    """Of a session, by file name; untrusted."""

    pictures: dict[str, Any]
    changes: dict[str, Any]


def read_single_turn(folder: Path) -> list[BenchmarkCase]:
    """Return every turn as a case of its own, each on what the person had made so far ("all turns").

    Raises:
        InputError: a file is missing or damaged, or a picture is missing or outside the folder.
    """
    return [case for turns in _sessions(folder) for case in turns]


def read_multi_turn(folder: Path) -> list[BenchmarkCase]:
    """Return every turn as a case on the system's own edit of the turn before; only last turns are scored ("final turn").

    Raises:
        InputError: as :func:`read_single_turn`.
    """
    chained = []
    for turns in _sessions(folder):
        for number, case in enumerate(turns):
            before = turns[number - 1].key if number else ""
            chained.append(replace(case, after=before, is_scored=number + 1 == len(turns)))
    return chained


def _sessions(folder: Path) -> list[list[BenchmarkCase]]:
    path = folder / SESSIONS
    sessions, whole_pictures, changes = (read_object(folder / name) for name in (SESSIONS, GLOBAL, LOCAL))
    found = []
    for name, turns in sessions.items():
        where = f"{path}: {printable(name)}"
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
            raise InputError(f"{where}: must be a list of turns")
        descriptions = _Descriptions(
            pictures=_of_session(whole_pictures, name, folder / GLOBAL), changes=_of_session(changes, name, folder / LOCAL)
        )
        found.append([_turn(folder, name, number, turn, descriptions, where) for number, turn in enumerate(turns, start=1)])
    if not found:
        raise InputError(f"{path}: has no session")
    return found


def _of_session(descriptions: dict[str, Any], session: str, path: Path) -> dict[str, Any]:
    found = descriptions.get(session)
    if not isinstance(found, dict):
        raise InputError(f"{path}: {printable(session)}: must hold the descriptions of its pictures")
    return found


def _turn(
    folder: Path, session: str, number: int, turn: dict[str, Any], descriptions: _Descriptions, where: str
) -> BenchmarkCase:
    place = f"{where}: turn {number}"
    words = {name: text(turn, name, place) for name in ("input", "output")}

    def file(name: str) -> Path:
        return inside(folder, f"{session}/{text(turn, name, place)}", f"{place}: {name}", PICTURES)

    source = picture(file("input"))
    return BenchmarkCase(
        key=printable(f"{session}/{number}"),
        kind=f"turn {number}",
        source=source,
        mask=partial(_read_mask, file("mask"), source) if turn.get("mask") else whole(source),
        source_prompt=text(descriptions.pictures, words["input"], f"{place}: description"),
        prompt=text(descriptions.pictures, words["output"], f"{place}: description"),
        local_prompt=text(descriptions.changes, words["output"], f"{place}: local description"),
        instruction=one_line(turn.get("instruction")),
        target=picture(file("output")),
    )


def _read_mask(path: Path, source: Read) -> Image.Image:
    """Return where a picture may change: what is not opaque in the file, as the authors read it, at the picture's size."""
    mask, size = read_mask(path), source().size
    is_cut = mask.has_transparency_data
    opacity = mask.convert("RGBA").getchannel("A") if is_cut else Image.new("L", mask.size, OPAQUE)
    region = opacity.point([255] * OPAQUE + [0]).resize(size, Image.Resampling.NEAREST)
    if not region.getbbox():
        raise InputError(f"mask {path}: must be transparent where the picture may change; no part is")
    return region
