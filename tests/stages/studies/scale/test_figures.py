"""Tests of stages.studies.scale.figures."""

import numpy as np
import pytest

from stages.studies.scale.figures import exponent, on_line, ratio


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_exponent_of_a_power_law(power):
    sizes = [500, 1000, 4000, 16000]
    assert exponent(sizes, [3e-4 * size**power for size in sizes]) == pytest.approx(power, abs=1e-3)


def test_exponent_is_numpys_slope():
    rng = np.random.default_rng(0)
    sizes, costs = np.array([500, 1000, 2000, 4000]), rng.uniform(1, 9, 4)
    slope = np.polyfit(np.log(sizes), np.log(costs), 1)[0]
    assert exponent(sizes.tolist(), costs.tolist()) == pytest.approx(slope, abs=1e-3)


def test_ratio_is_of_pairs():
    assert ratio([2, 6, 4], [1, 2, 4]) == {"median": 2, "lowest": 1, "highest": 3}


def test_on_line_extends_it():
    assert on_line(30, [10, 20], [1, 2]) == pytest.approx(3)
