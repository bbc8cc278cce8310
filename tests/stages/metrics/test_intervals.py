"""Intervals against statistical theory."""

import dataclasses

import numpy as np
import pytest
from torchmetrics.image.kid import poly_mmd

from stages.core.errors import InputError
from stages.metrics import distribution
from stages.metrics.intervals import bootstrap, bootstrap_of, jackknife, paired_difference
from tests.support.metric_inputs import NAN, features


def test_bootstrap_interval_has_the_theoretical_width():
    values = np.random.default_rng(0).normal(3, 2, 400)
    interval = bootstrap(values, 1000, 0)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval == bootstrap(values, 1000, 0)


def test_bootstrap_leaves_out_and_counts_undefined_values():
    interval = bootstrap(np.array([1, NAN, 3, NAN]), 100, 0)
    assert (interval.value, interval.n, interval.undefined) == (2, 2, 2)
    nothing = bootstrap(np.array([NAN, NAN]), 100, 0)
    assert np.isnan(nothing.value)
    assert (nothing.n, nothing.undefined) == (0, 2)


def test_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 200)
    first, second = hard + 1 + rng.normal(0, 0.1, 200), hard + rng.normal(0, 0.1, 200)
    interval = paired_difference(first, second, 200, 0)
    assert 0.9 < interval.low < 1 < interval.high < 1.1
    with pytest.raises(InputError, match="same"):
        paired_difference(first, second[1:], 200, 0)


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=40)
    interval, _ = jackknife(lambda kept: float(values[kept].mean()), 40)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(40))


@pytest.mark.parametrize(("value", "n"), [(7.0, 1), (7.0, 2), (NAN, 40)])
def test_jackknife_of_few_or_undefined_cases_has_no_interval(value, n):
    interval, _ = jackknife(lambda _: value, n)
    np.testing.assert_equal([interval.value, interval.low, interval.high, interval.n], [value, NAN, NAN, n])


def test_jackknife_interval_covers_the_true_set_distance():
    truth = poly_mmd(features(2000, 3, 99).double(), features(2000, 3, 98).double() + 0.5).item()
    hits = 0
    for seed in range(20):
        first, second = features(100, 3, 2 * seed).double(), features(100, 3, 2 * seed + 1).double() + 0.5
        terms = distribution.paired_terms(first, second)
        interval, _ = jackknife(lambda kept, terms=terms: distribution.paired_kernel_distance(terms[kept][:, kept]), 100)
        hits += interval.low < truth < interval.high
    assert hits >= 16


def test_bootstrap_of_effects_agrees_with_paired_and_delta_methods():
    rng = np.random.default_rng(0)
    second = rng.normal(50, 5, 400)
    first = second * 1.2 + rng.normal(0, 2, 400)
    first[0] = NAN
    paired = paired_difference(first, second, 300, 0)
    found = bootstrap_of(lambda one, other: one - other, first, second, 300, 0)
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(paired))
    ratio = bootstrap_of(lambda one, other: one / other, first, second, 2000, 0)
    residual = first[1:] - ratio.value * second[1:]
    error = residual.std() / second[1:].mean() / np.sqrt(399)
    assert ratio.value == pytest.approx(first[1:].mean() / second[1:].mean())
    assert (ratio.high - ratio.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert np.isnan(bootstrap_of(lambda one, other: one / other, first[:1], second[:1], 10, 0).value)
