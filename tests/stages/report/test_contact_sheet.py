"""The contact sheet."""

import numpy as np
import pytest

from stages.report.captions import NAMES, names_for
from stages.report.contact_sheet import CELL, HEADER, MARGIN, contact_sheet
from stages.report.pictures import THUMBNAIL
from tests.support.results import case


def test_sheet_shows_every_case_and_system():
    cases = [case(0), case(1, "<b> " + "long " * 100), case(2, size=80)]
    sheet = contact_sheet(cases, {system: [one.source for one in cases] for system in NAMES})
    assert sheet.width > 7 * THUMBNAIL
    assert sheet.height > 3 * THUMBNAIL
    top = 22 + 2 * 12 + 22
    corner = sheet.crop((12, top, 12 + THUMBNAIL, top + THUMBNAIL))
    assert (np.asarray(corner)[1::3, 1::3] == np.asarray(cases[0].source)).all()


@pytest.mark.parametrize("masks", ["true", "referee"])
def test_headings_do_not_touch(masks):
    cases, names = [case(0)], names_for(masks)
    sheet = contact_sheet(cases, {system: [cases[0].source] for system in names}, names)
    headings = np.asarray(sheet.crop((0, 0, sheet.width, HEADER)))
    for column in range(len(names) + 2):
        start = MARGIN + column * CELL
        assert (headings[:, start - 2 : start] == 255).all()
        assert (headings[:, start : start + CELL - 2] < 128).any()
