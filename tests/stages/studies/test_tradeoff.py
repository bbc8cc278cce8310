"""The lines over settings, and the table of each."""

import csv
import io

from stages.core.params import Params
from stages.report.captions import NAMES
from stages.studies import tradeoff
from tests.support.composed import composed
from tests.support.results import trial


def test_lines_vary_the_strength_or_the_image_guidance():
    lines = tradeoff.settings_of_lines(Params.model_validate(composed()))
    assert set(lines) == set(NAMES)
    for system, settings in lines.items():
        varied = "image_guidance_scale" if system == "instruct_pix2pix" else "strength"
        assert len({each[varied] for each in settings}) == 6
        assert len({each["guidance_scale"] for each in settings}) == 1


def test_a_curve_leaves_out_failed_edits():
    line = trial("iedit_m", 80, 70.0, strength=0.4)
    line.scores.per_case["ssim_m_bar_frame"][:2] = float("nan"), 64.0
    (point,) = tradeoff._curve("iEdit-M", [line]).points
    assert (point.x, point.y) == (68, 50)


def test_a_point_has_its_interval():
    params = Params.model_validate(composed("evaluate.bootstrap=20"))
    (row,) = csv.DictReader(io.StringIO(tradeoff.curve_table([trial("sdedit", 80, 70, strength=0.4)], params)))
    assert (row["varied"], row["value"], row["cases"]) == ("strength", "0.4", "4")
    assert row["edit_success_n"] == "3"  # one of the four is undefined
    assert float(row["edit_success_low"]) <= float(row["edit_success"]) == 80 <= float(row["edit_success_high"])
