"""More images of the embedded world: in params.yaml, where the stages read their number, and in what it is composed from."""

from pathlib import Path
from typing import Any

import yaml

from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.core.params import OpenMojiSource
from stages.core.params_file import read_params
from stages.core.paths import PARAMS_FILE

PLACE = ("ingest", "source", "images")
COMPOSED_FROM = Path("conf/source/openmoji.yaml")  # an experiment composes the parameters anew


def grow_corpus(images: int) -> None:
    """Set how many images of the embedded world the corpus has; nothing else in the two files changes.

    Raises:
        InputError: the source is another, or has more images already.
        ParameterError: params.yaml is not as it must be.
    """
    source = read_params().ingest.source
    if not isinstance(source, OpenMojiSource):
        raise InputError(f"images = {images}: only for the source openmoji, this is {source.kind}; add to {source.path!r}")
    if images < source.images:
        raise InputError(f"images = {images}: the corpus has {source.images}, a refresh only adds to it")
    if images > source.images:
        for path in (COMPOSED_FROM, PARAMS_FILE):  # the last stands for both
            _write_number(path, images)


def _write_number(path: Path, images: int) -> None:
    text = path.read_text(encoding="utf-8")
    start, end = _place(text, *PLACE)
    with written_aside(path) as temporary:
        temporary.write_text(f"{text[:start]}{images}{text[end:]}", encoding="utf-8")


def _place(text: str, *keys: str) -> tuple[int, int]:
    """Return where in a YAML text the value of a key begins and ends."""
    node: Any = yaml.compose(text)
    for wanted in keys:
        node = next(value for key, value in node.value if key.value == wanted)
    return node.start_mark.index, node.end_mark.index
