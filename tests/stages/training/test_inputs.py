"""What is said where no pair is left to train on."""

import pyarrow as pa

from stages.language.mutation import Dropped
from stages.pairing.choice import USED
from stages.pairing.neighbours import OBJECTIONS
from stages.pairing.selection import objections
from stages.training.inputs import PARAMETERS


def test_every_reason_with_a_remedy_is_a_stages_own():
    areas = pa.table({"source_mask_area": [0.0, 1.0, 0.5, 0.5], "target_mask_area": [0.5, 0.5, 0.0, 1.0]})
    given = {*objections(areas, 0.1, 0.9), *OBJECTIONS, USED, *Dropped}
    assert PARAMETERS.keys() <= given
    assert {*OBJECTIONS, USED} <= PARAMETERS.keys()
