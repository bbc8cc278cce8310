"""EditBench (Wang et al. 2023, "Imagen Editor"): inpainting within given masks, with three prompts a picture.

A folder holds, for each part, ``annotations_PART.csv``, ``references_PART/NAME.png`` and ``masks_PART/NAME.png``; NAME is
the column ``aos``, for attribute, object and scene. Masks are white where the picture is to be filled.
"""

from pathlib import Path

from stages.benchmarks.case import BenchmarkCase
from stages.benchmarks.files import inside, mask_like, picture, read_rows, text
from stages.core.errors import InputError
from stages.corpus.parts import printable

PARTS = ("natural", "generated")
PROMPTS = {"full": "prompt_full", "simple": "prompt_mask-simple", "rich": "prompt_mask-rich"}
"""Kind of prompt → column."""


def read_edit_bench(folder: Path) -> list[BenchmarkCase]:
    """Return a case for each picture and kind of prompt, of the parts that the folder has.

    Raises:
        InputError: the folder has neither part, a table lacks a column, or a picture is missing or outside the folder.
    """
    tables = {part: folder / f"annotations_{part}.csv" for part in PARTS}
    found = {part: table for part, table in tables.items() if table.is_file()}
    if not found:
        raise InputError(f"{folder}: has none of {', '.join(table.name for table in tables.values())}")
    return [case for part, table in found.items() for case in _part(folder, part, table)]


def _part(folder: Path, part: str, table: Path) -> list[BenchmarkCase]:
    cases = []
    for number, row in enumerate(read_rows(table), start=1):
        where = f"{table}: row {number}"
        name = text(row, "aos", where)
        source = picture(inside(folder, f"references_{part}/{name}.png", where))
        mask = mask_like(inside(folder, f"masks_{part}/{name}.png", where), source)
        full = text(row, PROMPTS["full"], where)
        cases += [
            BenchmarkCase(
                key=printable(f"{part}/{name}/{kind}"),
                kind=kind,
                source=source,
                mask=mask,
                source_prompt=full,
                prompt=text(row, column, where),
                term=text(row, PROMPTS["simple"], where),
            )
            for kind, column in PROMPTS.items()
        ]
    if not cases:
        raise InputError(f"{table}: has no rows")
    return cases
