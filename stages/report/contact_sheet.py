"""The contact sheet: the first cases and every system's edits in one picture, for README and the pages of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

from stages.core.errors import InputError
from stages.corpus.samples import EditSample
from stages.report.captions import NAMES, TRUE_MASKS
from stages.report.pictures import THUMBNAIL, overlay, thumbnail

SHEET_CASES = 8
"""How many cases a contact sheet shows: the first ones, not the best ones."""
MARGIN, LINE, TEXT = 12, 22, 14  # pixels: around a thumbnail; height of a line of text, and of its letters
CELL = THUMBNAIL + MARGIN
HEADER = LINE + 2 * MARGIN
ROW = THUMBNAIL + LINE + 2 * MARGIN


def contact_sheet(
    cases: Sequence[EditSample],
    edits: Mapping[str, Sequence[Image.Image]],
    names: Mapping[str, str] = NAMES,
    *,
    mask: str = TRUE_MASKS.mask,
) -> Image.Image:
    """Draw a row for each case: its caption and edit prompt, the source, the mask on the source, each system's edit.

    Args:
        cases: drawn in this order, all of them.
        edits: system → its edits, one for each case.
        names: system → its name.
        mask: heading of the column of masks.

    Returns:
        The sheet, mode "RGB".

    Raises:
        InputError: a system has more or fewer edits than there are cases.
    """
    check_edits(cases, edits, names)
    titles = ["source", mask, *names.values()]
    width = MARGIN + len(titles) * CELL
    sheet = Image.new("RGB", (width, HEADER + len(cases) * ROW), "white")
    draw = ImageDraw.Draw(sheet)
    regular, bold = _font("DejaVuSans", TEXT), _fitting("DejaVuSans-Bold", titles, CELL - MARGIN // 2)
    for column, title in enumerate(titles):
        draw.text((MARGIN + column * CELL, MARGIN), title, "black", bold)
    for index, case in enumerate(cases):
        top = HEADER + index * ROW
        text = f"{case.source_caption}  →  {case.edit_prompt}"
        draw.text((MARGIN, top), _shortened(text, regular, width - 2 * MARGIN), (60, 60, 60), regular)
        pictures = [case.source, overlay(case.source, case.source_mask), *(edits[system][index] for system in names)]
        for column, picture in enumerate(pictures):
            sheet.paste(thumbnail(picture), (MARGIN + column * CELL, top + LINE))
    return sheet


def check_edits(cases: Sequence[EditSample], edits: Mapping[str, Sequence[Image.Image]], names: Mapping[str, str]) -> None:
    """Check that every system of ``names`` has one edit for each case.

    Raises:
        InputError: a system has more or fewer.
    """
    counts = {system: len(edits.get(system, ())) for system in names}
    if any(count != len(cases) for count in counts.values()):
        raise InputError(f"{len(cases)} cases to show, but edits: {counts}")


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that ships with matplotlib: the same on every machine, and not only Latin letters."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def _fitting(name: str, titles: Sequence[str], width: int) -> ImageFont.FreeTypeFont:
    """Return a font of at most TEXT pixels in which each title is at most ``width`` pixels long, or the smallest one."""
    fonts = [_font(name, size) for size in range(TEXT, TEXT // 2, -1)]
    return next((font for font in fonts if max(map(font.getlength, titles)) <= width), fonts[-1])


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the text on one line of at most ``width`` pixels; an ellipsis stands for the rest."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
