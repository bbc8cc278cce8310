"""Distances between sets against torchmetrics, SciPy and brute force."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from stages.core.errors import InputError
from stages.metrics import distribution
from tests.support.metric_inputs import features


def test_frechet_distance_agrees_with_the_matrix_square_root():
    first, second = features(300, 8), 0.5 + 1.3 * features(200, 8, 1) @ features(8, 8, 2)
    covariances = [torch.cov(x.double().T) for x in (first, second)]
    expected = _compute_fid(first.double().mean(0), covariances[0], second.double().mean(0), covariances[1])
    root = scipy.linalg.sqrtm((covariances[0] @ covariances[1]).numpy()).real
    by_scipy = (first.double().mean(0) - second.double().mean(0)).square().sum() + covariances[0].trace()
    by_scipy += covariances[1].trace() - 2 * np.trace(root)
    result = distribution.frechet_distance(first, second)
    assert result == pytest.approx(expected.item(), rel=1e-6)
    assert result == pytest.approx(by_scipy.item(), rel=1e-6)


def test_frechet_distance_is_exact_with_fewer_cases_than_dimensions():
    first, second = features(12, 40).double(), features(9, 40, 1).double() + 0.2
    x, y = first - first.mean(0), second - second.mean(0)
    gram = np.linalg.svd((x @ y.T).numpy(), compute_uv=False).sum() / np.sqrt(11 * 8)
    expected = (first.mean(0) - second.mean(0)).square().sum() + x.square().sum() / 11 + y.square().sum() / 8 - 2 * gram
    assert distribution.frechet_distance(first, second) == pytest.approx(expected.item())
    assert distribution.frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert np.isnan(distribution.frechet_distance(first[:1], second))


def test_paired_kernel_distance_is_torchmetrics_without_own_pairs():
    first, second = features(30, 8).double(), features(30, 8, 1).double() + 0.3
    across = (first.numpy() @ second.numpy().T / 8 + 1) ** 3
    others = (across.sum() - across.trace()) / (30 * 29)
    expected = poly_mmd(first, second).item() + 2 * (across.mean() - others)
    assert distribution.paired_kernel_distance(distribution.paired_terms(first, second)) == pytest.approx(expected)
    assert np.isnan(distribution.paired_kernel_distance(distribution.paired_terms(first[:1], second[:1])))


def test_paired_kernel_distance_matches_a_double_loop():
    first, second = features(7, 4).double(), features(7, 4, 1).double()

    def k(x, y):
        return float((x @ y / 4 + 1) ** 3)

    terms = [
        k(first[i], first[j]) + k(second[i], second[j]) - k(first[i], second[j]) - k(second[i], first[j])
        for i in range(7)
        for j in range(7)
        if i != j
    ]
    assert distribution.paired_kernel_distance(distribution.paired_terms(first, second)) == pytest.approx(np.mean(terms))


def test_an_editor_that_changes_nothing_has_distance_zero():
    first = features(20, 8)
    assert distribution.paired_kernel_distance(distribution.paired_terms(first, first)) == 0
    assert poly_mmd(first.double(), first.double()) < 0  # the reason for the paired form


def test_features_of_different_lengths_are_refused():
    for distance in (distribution.frechet_distance, distribution.paired_terms):
        with pytest.raises(InputError, match="one d"):
            distance(features(4, 3), features(4, 5))
