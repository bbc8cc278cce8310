"""Which checkpoints and losses of a workplace a training resumes from."""

import pytest

from stages.core.errors import InputError
from stages.training.workplace import Workplace
from tests.support.training import assert_same, check_resumed, logs, place, tune


def test_fewer_steps_than_done_are_trained_again(tools, tmp_path):
    wanted = tune(tools, place(tmp_path, "fresh"), steps=2)
    workplace = place(tmp_path)
    tune(tools, workplace)
    assert_same(tune(tools, workplace, steps=2), wanted)
    assert [row["step"] for row in logs(workplace)] == [0, 1]


def test_checkpoint_of_another_training_is_not_resumed(tools, uninterrupted, tmp_path):
    tune(tools, Workplace(folder=tmp_path / "a", fingerprint="fedcba9876543210fedc"), seed=1)
    check_resumed(tools, uninterrupted, place(tmp_path), 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"step": 1, "tot', "line 2 is damaged"),
        (b'{"step": 1, "total": "much"}', "line 2 is damaged"),
        (b'{"step": 0, "total": 1.0}', "line 2 is damaged"),
        (b"[1]", "line 2 is damaged"),
        (b"\xff", "line 2 is damaged"),
        (None, "has 1 of 3 steps"),
    ],
)
def test_a_damaged_log_is_named(tools, tmp_path, line, message):
    workplace = place(tmp_path)
    tune(tools, workplace, steps=3)
    first, _, third = workplace.losses.read_bytes().splitlines()
    workplace.losses.write_bytes(b"\n".join([first] if line is None else [first, line, third]))
    with pytest.raises(InputError, match=rf"\.losses\.jsonl: {message}; remove .* to start over"):
        tune(tools, workplace)
