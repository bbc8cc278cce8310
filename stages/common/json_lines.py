"""Files of judgements that people make: one JSON object a line, and lines are only ever added."""

import fcntl
import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from stages.core.errors import InputError, cut

Line = TypeVar("Line", bound=BaseModel)


def read_lines(path: Path, kind: type[Line]) -> list[Line]:
    """Return the lines of a file in their order; a missing file has none.

    Raises:
        InputError: a line is damaged, or the last one was cut off.
    """
    lines = enumerate(path.read_bytes().split(b"\n") if path.is_file() else (), 1)
    return [_parse(path, number, line, kind) for number, line in lines if line.strip()]


def append_line(path: Path, value: BaseModel) -> None:
    """Write a line at the end of a file, on disk before this returns; several processes may write at once.

    Raises:
        InputError: the last line was cut off, so that the new one would become a part of it.
    """
    line = value.model_dump_json(exclude_defaults=True).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            raise InputError(f"{path}: its last line was cut off; end it with a line break if it is whole, or delete it")
        file.write(line)
        os.fsync(file.fileno())


def _parse(path: Path, number: int, line: bytes, kind: type[Line]) -> Line:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"])) or "the line"
        raise InputError(
            f"{path}: line {number} is cut off or damaged, {what}: {first['msg']}: {cut(line.decode(errors='replace'))!r};"
            " mend or delete it, and review that pair again"
        ) from error
