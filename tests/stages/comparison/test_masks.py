"""The masks that the systems edit within."""

from pathlib import Path

import torch

from stages.comparison.edits import edit_cases
from tests.support.recorder import Recorder


def test_each_system_gets_the_masks_it_edits_within(cases, params, editor):
    recorders = {str(masks): Recorder(number, masks=masks) for number, masks in enumerate((None, "given", "predicted"))}
    systems = {name: recorder.system for name, recorder in recorders.items()}
    made = edit_cases(cases, systems, editor, "segmenter", params, Path("edited"))
    assert recorders["None"].masks == [None, None]
    assert torch.equal(torch.cat(recorders["predicted"].masks), made.masks)
    true = torch.cat(recorders["given"].masks)
    assert true[..., :16].max() == 0
    assert true[..., 16:].min() == 1
