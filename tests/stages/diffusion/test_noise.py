"""Noise, Eq 1, 2, 3, 4 and 7, against the equations worked out in float64."""

import numpy as np
import pytest
import torch

from stages.diffusion.noise import add_noise, alpha_at, noise_towards, predict_clean, squared_error, time_share
from tests.support.equations import ALPHAS, SMALL, SNR, TIMES, T, alpha, autograd, close, mean_square, normal, slope, tensor


def test_schedule_is_stable_diffusions(tools):
    found = tools.diffusion.scheduler.alphas_cumprod.double().numpy()
    np.testing.assert_allclose(found, ALPHAS, rtol=1e-4)
    snr = found / (1 - found)
    np.testing.assert_allclose(snr[[0, 100, 500, 999]], [1175, 8.45, 0.38, 0.0047], rtol=0.01)


def test_time_share_bounds_the_signal_to_noise_ratio(tools):
    alphas = tools.diffusion.scheduler.alphas_cumprod.double()
    share = time_share(torch.arange(T), T)
    assert (share[0].item(), share[-1].item()) == (pytest.approx(0.001), 1.0)
    weighted = share * alphas / (1 - alphas)
    assert weighted.max().item() == pytest.approx(1.175, abs=2e-3)
    assert (weighted.diff() < 0).all()
    assert weighted.mean().item() == pytest.approx(0.318, abs=2e-3)


def test_alpha_is_taken_at_each_samples_timestep():
    assert alpha()[1].flatten().tolist() == pytest.approx(ALPHAS[TIMES].tolist(), rel=1e-6)


def test_eq_2():
    a, a_torch = alpha()
    z1, e1 = normal(1), normal(2)
    close(add_noise(tensor(z1), tensor(e1), a_torch), a**0.5 * z1 + (1 - a) ** 0.5 * e1)


def test_eq_3_is_the_source_noise_moved_by_the_difference():
    z1, z2, e1 = normal(1), normal(2), normal(3)
    _, a = alpha()
    e2 = noise_towards(add_noise(tensor(z1), tensor(e1), a), tensor(z2), a)
    close(e2, e1 + SNR[TIMES].reshape(-1, 1, 1, 1) ** 0.5 * (z1 - z2), 1e-4)


def test_eq_7_undoes_eq_2():
    z1, e1 = normal(1), normal(2)
    _, a = alpha()
    close(predict_clean(add_noise(tensor(z1), tensor(e1), a), tensor(e1), a), z1, 1e-4)


def test_noise_error_is_the_picture_error_times_the_ratio():
    z1, z2, e1, predicted = (tensor(normal(seed)) for seed in range(4))
    _, a = alpha()
    noisy = add_noise(z1, e1, a)
    noise_error = squared_error(predicted, noise_towards(noisy, z2, a))
    picture_error = squared_error(predict_clean(noisy, predicted, a), z2)
    close(noise_error, SNR[TIMES] * picture_error.double().numpy(), 1e-3)


def test_eq_1_and_4():
    predicted, wanted = normal(1), normal(2)
    close(squared_error(tensor(predicted), tensor(wanted)), ((wanted - predicted) ** 2).mean(axis=(1, 2, 3)))


def test_half_precision_is_compared_in_single():
    predicted, wanted = tensor(normal(1)) * 300, tensor(normal(2))
    assert squared_error(predicted.half(), wanted.half()).dtype == torch.float32


def test_gradient_of_eq_1_and_4():
    predicted, wanted = normal(1, *SMALL), normal(2, *SMALL)
    by_hand = slope(lambda point: mean_square(point - wanted), predicted)
    close(autograd(lambda point: squared_error(point, tensor(wanted)), predicted), by_hand)


def test_clean_latents_are_steepest_where_the_noise_is_strongest():
    predicted = torch.zeros(1, 1, 1, 1, requires_grad=True)
    predict_clean(torch.ones(1, 1, 1, 1), predicted, alpha_at(tensor(ALPHAS), torch.tensor([999]))).sum().backward()
    assert -predicted.grad.item() == pytest.approx(14.6, abs=0.1)
