"""Cases and edits that do not fit together are refused."""

from dataclasses import replace

import pytest
import torch

from stages.core.errors import InputError
from stages.metrics.scores import score_system
from tests.support.metric_inputs import JUDGE, NAN, NONE_FAILED, SIZE, colour_cases, narrow_vgg, pictures


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ["one"]}, "each needs one"),
        ({"sources": 2 * pictures(6)}, r"in \[0, 1\]"),
        ({"masks": torch.ones(6, 1, 8, 8)}, "masks of"),
        ({"masks": torch.ones(6, 3, SIZE, SIZE)}, r"masks of shape \(6, 3, .*\): they must be \(n, 1, height, width\)"),
        ({"sources": pictures(6)[0]}, "each needs one"),
        ({"target_terms": ["mauve"] * 6}, "'mauve' is not among"),
    ],
)
def test_bad_cases_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(colour_cases(), **change)


def test_bad_edits_are_refused():
    cases, vgg = colour_cases(), narrow_vgg()
    with pytest.raises(InputError, match="edits"):
        score_system(cases, cases.sources[:3], NONE_FAILED, JUDGE, vgg, batch=4)
    with pytest.raises(InputError, match="nan"):
        score_system(cases, cases.sources * NAN, NONE_FAILED, JUDGE, vgg, batch=4)
    with pytest.raises(InputError, match=r"failures of shape \(5,\) for 6 edits"):
        score_system(cases, cases.sources, NONE_FAILED[:5], JUDGE, vgg, batch=4)
