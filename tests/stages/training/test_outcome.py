"""When a model counts as whole."""

import pytest

from stages.training.outcome import Outcome
from stages.training.workplace import Workplace


@pytest.fixture
def outcome(tmp_path) -> Outcome:
    """A sealed model with the losses of two steps."""
    workplace = Workplace(folder=tmp_path, fingerprint="0123456789abcdef0123")
    for step in range(2):
        workplace.append_losses(step, {"total": 1 / (step + 3), "raw/noise": 0.0})
    (tmp_path / "iedit").mkdir()
    (tmp_path / "iedit/weights").write_text("weights")
    made = Outcome(model=tmp_path / "iedit", losses=tmp_path / "losses.csv")
    made.write_losses(workplace)
    made.put_seal("fingerprint")
    return made


def test_losses_are_a_table_of_every_step(outcome):
    assert outcome.losses.read_text() == "step,total,raw/noise\n0,0.333333,0\n1,0.25,0\n"
    assert list(outcome.read_losses()) == [(0, {"total": 0.333333, "raw/noise": 0}), (1, {"total": 0.25, "raw/noise": 0})]


def test_a_seal_breaks_with_any_change(outcome):
    assert outcome.is_whole("fingerprint")
    assert not outcome.is_whole("another")
    for path in (outcome.model / "weights", outcome.losses):
        before = path.read_bytes()
        path.write_bytes(before + b"0")
        assert not outcome.is_whole("fingerprint")
        path.write_bytes(before)
        assert outcome.is_whole("fingerprint")
    outcome.seal.unlink()
    assert not outcome.is_whole("fingerprint")
