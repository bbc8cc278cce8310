"""PIE-Bench (Ju et al. 2024, "PnP Inversion"): 700 pictures, ten kinds of edit, masks by hand.

A folder holds ``mapping_file.json`` and ``annotation_images/``. In both prompts, brackets mark what differs.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from stages.benchmarks import run_length
from stages.benchmarks.case import BenchmarkCase, Read
from stages.benchmarks.files import inside, picture, read_object, text
from stages.common.text import one_line
from stages.core.errors import InputError
from stages.corpus.parts import printable

MAPPING, PICTURES = "mapping_file.json", "annotation_images"
KINDS = {
    "0": "random",
    "1": "change object",
    "2": "add object",
    "3": "delete object",
    "4": "change content",
    "5": "change pose",
    "6": "change colour",
    "7": "change material",
    "8": "change background",
    "9": "change style",
}
"""editing_type_id → kind of edit."""


def read_pie_bench(folder: Path) -> list[BenchmarkCase]:
    """Return the cases of a folder in PIE-Bench's format, in the order of its mapping file.

    Raises:
        InputError: the mapping file is missing or damaged, an entry lacks a part, or a picture is missing or outside.
    """
    path = folder / MAPPING
    entries = read_object(path)
    if not entries:
        raise InputError(f"{path}: has no case")
    return [_case(folder, key, entry, f"{path}: {printable(key)}") for key, entry in entries.items()]


def _case(folder: Path, key: str, entry: object, where: str) -> BenchmarkCase:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must be a JSON object")
    kind = str(entry.get("editing_type_id"))
    if kind not in KINDS:
        raise InputError(f"{where}: editing_type_id = {printable(kind)}: allowed are {', '.join(KINDS)}")
    source = picture(inside(folder, entry.get("image_path"), f"{where}: image_path", PICTURES))
    original, edited = (text(entry, name, where) for name in ("original_prompt", "editing_prompt"))
    blended = _blended_words(entry)
    return BenchmarkCase(
        key=printable(key),
        kind=KINDS[kind],
        source=source,
        mask=partial(_read_mask, source, entry.get("mask"), f"{where}: mask"),
        source_prompt=_plain(original),
        prompt=_plain(edited),
        source_term=_bracketed(original) or blended[0],
        term=_bracketed(edited) or blended[1],
        instruction=one_line(entry.get("editing_instruction")),
    )


def _read_mask(source: Read, runs: object, where: str) -> Image.Image:
    width, height = source().size
    return run_length.to_image(run_length.decode(runs, width, height, where))


def _plain(prompt: str) -> str:
    return one_line(prompt.replace("[", "").replace("]", ""))


def _bracketed(prompt: str) -> str:
    """Return what stands in brackets, "" if nothing does."""
    return one_line(" ".join(re.findall(r"\[([^\[\]]*)\]", prompt)))


def _blended_words(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the words that an edit is about in the source's prompt and in its own; ("", "") if there is no such pair."""
    words = one_line(entry.get("blended_word")).split()
    return (words[0], words[1]) if len(words) == 2 else ("", "")
