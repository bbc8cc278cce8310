"""How long one edit takes."""

from stages.comparison.timing import time_edits
from tests.support.recorder import Recorder


def test_the_time_of_an_edit_is_a_median_of_turns(cases, params, editor):
    recorders = {"one": Recorder(1), "two": Recorder(2, masks="predicted")}
    systems = {name: recorder.system for name, recorder in recorders.items()}
    seconds = time_edits(cases[0].sample, systems, editor, params)
    assert all(value > 0 for value in seconds.values())
    assert [recorder.batches for recorder in recorders.values()] == [[["0"]] * 5] * 2
