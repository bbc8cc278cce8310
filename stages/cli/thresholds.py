"""``iedit thresholds``: what the thresholds on pairs and areas of masks drop, and what others would."""

import argparse

from stages.core.files import write_text
from stages.core.params_file import read_params
from stages.core.paths import THRESHOLDS_PAGE


def thresholds(_: argparse.Namespace) -> None:
    """Print the tables, and write them to a page with a histogram of each score.

    Raises:
        InputError: the stage retrieve has not run here, or found nothing.
        ParameterError: params.yaml is missing or damaged.
    """
    params = read_params()

    from stages.report.thresholds import measure_thresholds, threshold_lines, thresholds_page

    measured = measure_thresholds(params)
    for line in threshold_lines(measured):
        print(line)
    write_text(THRESHOLDS_PAGE, thresholds_page(measured))
    print(f"histograms on {THRESHOLDS_PAGE}")
