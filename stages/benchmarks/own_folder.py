"""A folder of one's own cases: pictures, and ``cases.csv`` with a row for each edit.

Columns: ``source`` (a file) and ``prompt``; where known ``mask`` (a file, white where the picture may change), ``target`` (a
file), ``source_prompt``, ``source_term``, ``term`` and ``kind``.
"""

from pathlib import Path

from stages.benchmarks.case import BenchmarkCase, whole
from stages.benchmarks.files import inside, mask_like, picture, read_rows, text
from stages.common.text import one_line
from stages.core.errors import InputError

TABLE = "cases.csv"
COLUMNS = ("source", "prompt", "mask", "target", "source_prompt", "source_term", "term", "kind")


def read_own_folder(folder: Path) -> list[BenchmarkCase]:
    """Return the cases of a folder in the order of its table; without a mask the whole picture may change.

    Raises:
        InputError: the table is missing, has no row or an unknown column, or a picture is missing or outside the folder.
    """
    table = folder / TABLE
    rows = read_rows(table)
    if not rows:
        raise InputError(f"{table}: has no rows")
    unknown = sorted(set(rows[0]) - set(COLUMNS))
    if unknown:
        raise InputError(f"{table}: has the column {unknown[0]}; allowed are {', '.join(COLUMNS)}")
    return [_case(folder, row, number, f"{table}: row {number}") for number, row in enumerate(rows, start=1)]


def _case(folder: Path, row: dict[str, str], number: int, where: str) -> BenchmarkCase:
    source = picture(inside(folder, row.get("source"), f"{where}: source"))
    mask, target = row.get("mask"), row.get("target")
    return BenchmarkCase(
        key=f"{number:06d}",
        kind=one_line(row.get("kind")) or "edit",
        source=source,
        mask=mask_like(inside(folder, mask, f"{where}: mask"), source) if mask else whole(source),
        source_prompt=one_line(row.get("source_prompt")),
        prompt=text(row, "prompt", where),
        source_term=one_line(row.get("source_term")),
        term=one_line(row.get("term")),
        target=picture(inside(folder, target, f"{where}: target")) if target else None,
    )
