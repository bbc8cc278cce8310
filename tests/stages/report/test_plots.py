"""Plots: ids, missing columns, and the same bytes in every run."""

import re

import pytest

from stages.core.errors import InputError
from stages.report.plots import Curve, Point, plot_losses, plot_tradeoff


def test_ids_of_two_loss_plots_differ():
    rows = [{"step": step, "a": step % 5 - 1.0} for step in range(1, 40)]
    ids = [set(re.findall(r'id="(p[0-9a-f]+|m[0-9a-f]+)"', plot_losses(rows, title, ["a"]))) for title in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_a_column_that_the_log_lacks_is_an_error():
    with pytest.raises(InputError, match="no column 'b'"):
        plot_losses([{"step": 1, "a": 1.0}], "one", ["b"])


def test_tradeoff_has_every_curve_and_the_same_bytes_twice():
    curves = [Curve(name=name, points=[Point(label="0.4", x=1, y=2), Point(label="0.9", x=2, y=1)]) for name in ("a<b", "c")]
    assert plot_tradeoff(curves) == plot_tradeoff(curves)
    assert "a&lt;b" in plot_tradeoff(curves)
