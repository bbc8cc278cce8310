"""The contact sheet."""

import numpy as np

from stages.report.captions import NAMES
from stages.report.contact_sheet import contact_sheet
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
