"""The losses against the paper's equations, and their gradients against central differences, both in float64.

Gradients are taken at points where no term is near zero.
"""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional

from stages.core.params_training import Losses
from stages.diffusion.losses import (
    TERM_NAMES,
    TERMS,
    active_terms,
    clamp_pictures,
    clip_distance,
    masked_noise_loss,
    min_snr_weight,
    perceptual_loss,
    total_loss,
)
from stages.diffusion.noise import (
    add_noise,
    alpha_at,
    noise_of_velocity,
    noise_towards,
    predict_clean,
    squared_error,
    time_share,
)
from tests.support.equations import (
    ALPHAS,
    SMALL,
    TIMES,
    T,
    autograd,
    binary,
    close,
    distance,
    mean_square,
    normal,
    slope,
    tensor,
)

ALL_ON = Losses(
    noise="mask",
    guidance_scale=3.0,
    global_clip=True,
    local_clip=True,
    perceptual=True,
    perceptual_weight=0.3,
    perceptual_layers=(3, 8, 15),
    picture_share=1.0,
    min_snr=None,
)


def test_eq_5_and_11():
    pictures, texts = normal(1, 3, 7), normal(2, 3, 7)
    cosine = (pictures * texts).sum(1) / np.linalg.norm(pictures, axis=1) / np.linalg.norm(texts, axis=1)
    close(clip_distance(*(functional.normalize(tensor(each)) for each in (pictures, texts))), 1 - cosine)


def test_eq_8_and_9():
    predicted, e1, e2 = normal(1), normal(2), normal(3)
    m1, m2 = binary(4), binary(5)
    foreground = (e2 * m2 - predicted * m2) ** 2
    background = (e1 * (1 - m1) - predicted * (1 - m1)) ** 2
    found = masked_noise_loss(*map(tensor, (predicted, e1, e2, m1, m2)))
    close(found, foreground.mean(axis=(1, 2, 3)) + background.mean(axis=(1, 2, 3)))


def test_eq_9_with_full_masks_is_eq_4():
    predicted, e1, e2 = (tensor(normal(seed)) for seed in range(3))
    ones = torch.ones(3, 1, 5, 6)
    assert torch.equal(masked_noise_loss(predicted, e1, e2, ones, ones), squared_error(predicted, e2))


def test_eq_9_with_empty_masks_is_eq_1():
    predicted, e1, e2 = (tensor(normal(seed)) for seed in range(3))
    zeros = torch.zeros(3, 1, 5, 6)
    assert torch.equal(masked_noise_loss(predicted, e1, e2, zeros, zeros), squared_error(predicted, e1))


def test_eq_10_weighs_every_layer_the_same():
    edited = [normal(1, 2, 3, 8, 8), normal(2, 2, 5, 4, 4)]
    target = [normal(3, 2, 3, 8, 8), normal(4, 2, 5, 4, 4)]
    errors = [((one - other) ** 2).mean(axis=(1, 2, 3)) for one, other in zip(edited, target, strict=True)]
    found = perceptual_loss([tensor(each) for each in edited], [tensor(each) for each in target])
    close(found, (errors[0] + errors[1]) / 2)


def test_eq_12():
    local, everywhere, noise, perceptual = (np.abs(normal(seed, 3)) for seed in range(4))
    time = np.array([0.001, 0.25, 1.0])
    raw = {
        "local_clip": tensor(local),
        "global_clip": tensor(everywhere),
        "noise": tensor(noise),
        "perceptual": tensor(perceptual),
    }
    weighted, total = total_loss(raw, tensor(time), torch.ones(3), ALL_ON.model_copy(update={"perceptual_weight": 0.02}))
    close(total, (1 - time) * (local + everywhere) + time * noise + 0.02 * perceptual)
    close(weighted["local_clip"], (1 - time) * local)
    close(weighted["global_clip"], (1 - time) * everywhere)
    close(weighted["noise"], time * noise)
    close(weighted["perceptual"], 0.02 * perceptual)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weighs_as_diffusers_training_script(kind):
    """Its weight, on what the U-Net predicts, and ours, on the noise that this means, give one loss."""
    times, gamma = torch.tensor(TIMES), 5.0
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=kind)
    latents, noise, predicted = (tensor(normal(seed)) for seed in (1, 2, 3))
    snr, alpha = compute_snr(scheduler, times), alpha_at(scheduler.alphas_cumprod, times)
    least = torch.stack([snr, gamma * torch.ones_like(snr)], dim=1).min(dim=1)[0]
    if kind == "epsilon":
        theirs, meant = least / snr * squared_error(predicted, noise), predicted
    else:
        theirs = least / (snr + 1) * squared_error(predicted, scheduler.get_velocity(latents, noise, times))
        meant = noise_of_velocity(predicted, add_noise(latents, noise, alpha), alpha)
    assert snr[0] > gamma > snr[-1]
    torch.testing.assert_close(min_snr_weight(snr, gamma) * squared_error(meant, noise), theirs, rtol=1e-3, atol=1e-6)


def test_min_snr_weighs_the_noise_term_alone():
    raw, snr = dict.fromkeys(TERM_NAMES, torch.ones(3)), torch.tensor([0.5, 5.0, 50.0])
    time = torch.tensor([1.0, 0.5, 0.25])
    (plain, _), (found, _) = (total_loss(raw, time, snr, ALL_ON.model_copy(update={"min_snr": g})) for g in (None, 5.0))
    close(found["noise"], np.array([1.0, 0.5, 0.025]))
    assert all(torch.equal(found[name], plain[name]) for name in TERM_NAMES if name != "noise")


def test_half_precision_does_not_overflow_in_eq_9():
    predicted, wanted = tensor(normal(1)) * 300, tensor(normal(2))
    ones = torch.ones(3, 1, 5, 6)
    assert torch.isfinite(masked_noise_loss(predicted.half(), wanted, wanted, ones, ones)).all()


def test_gradient_of_eq_9():
    predicted, e1, e2 = (normal(seed, *SMALL) for seed in (1, 2, 3))
    m1, m2 = binary(4, 2, 1, 2, 3), binary(5, 2, 1, 2, 3)
    weights = np.array([0.7, 1.9])
    by_hand = slope(lambda point: weights * (mean_square(m2 * (point - e2)) + mean_square((1 - m1) * (point - e1))), predicted)
    assert np.abs(by_hand).max() > 0.1
    others = [tensor(each) for each in (e1, e2, m1, m2)]
    close(autograd(lambda point: tensor(weights) * masked_noise_loss(point, *others), predicted), by_hand)


def test_gradient_of_eq_5_and_11():
    found, text = normal(1, 2, 5), normal(2, 2, 5)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    by_hand = slope(lambda point: distance(point, text), found)
    close(autograd(lambda point: clip_distance(functional.normalize(point), tensor(text)), found), by_hand)


def test_gradient_of_eq_10():
    picture, target = normal(1, *SMALL), normal(2, *SMALL)
    mixing = normal(3, 12, 7)  # stands for a second layer

    def by_numpy(point: np.ndarray) -> np.ndarray:
        second = (point - target).reshape(2, -1) @ mixing
        return (mean_square(point - target) + mean_square(second)) / 2

    def ours(point: Tensor) -> Tensor:
        layers = [[each, each.flatten(1) @ tensor(mixing)] for each in (point, tensor(target))]
        return perceptual_loss(*layers)

    close(autograd(ours, picture), slope(by_numpy, picture))


@pytest.mark.parametrize("timestep", [0, 300, 999])
def test_gradient_of_eq_12_through_eq_3_and_7(timestep):
    """All terms at once, with linear maps for decoder, CLIP and VGG: the gradient of the prediction at this timestep."""
    predicted, z1, z2, e1 = (normal(seed, *SMALL) for seed in range(4))
    m1, m2 = binary(4, 2, 1, 2, 3), binary(5, 2, 1, 2, 3)
    clip, vgg, text, diff = normal(6, 12, 5), normal(7, 12, 8), normal(8, 2, 5), normal(9, 2, 5)
    text, diff = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (text, diff))
    a, time, weight = ALPHAS[timestep], (timestep + 1) / T, 0.3
    noisy = a**0.5 * z1 + (1 - a) ** 0.5 * e1

    def by_numpy(point: np.ndarray) -> np.ndarray:
        e2 = (noisy - a**0.5 * z2) / (1 - a) ** 0.5
        clean = (noisy - (1 - a) ** 0.5 * point) / a**0.5
        everywhere = distance(clean.reshape(2, -1) @ clip, text)
        local = distance((m1 * clean).reshape(2, -1) @ clip, diff)
        perceptual = mean_square(((m1 * clean).reshape(2, -1) - (m2 * z2).reshape(2, -1)) @ vgg)
        noise = mean_square(m2 * (point - e2)) + mean_square((1 - m1) * (point - e1))
        return (1 - time) * (local + everywhere) + time * noise + weight * perceptual

    def ours(point: Tensor) -> Tensor:
        alpha = alpha_at(tensor(ALPHAS), torch.tensor([timestep, timestep]))
        clean = predict_clean(tensor(noisy), point, alpha)

        def embed(pictures: Tensor) -> Tensor:
            return functional.normalize(pictures.flatten(1) @ tensor(clip))

        raw = {
            "local_clip": clip_distance(embed(tensor(m1) * clean), tensor(diff)),
            "global_clip": clip_distance(embed(clean), tensor(text)),
            "noise": masked_noise_loss(
                point, tensor(e1), noise_towards(tensor(noisy), tensor(z2), alpha), tensor(m1), tensor(m2)
            ),
            "perceptual": perceptual_loss(
                [(tensor(m1) * clean).flatten(1) @ tensor(vgg)], [(tensor(m2) * tensor(z2)).flatten(1) @ tensor(vgg)]
            ),
        }
        return total_loss(raw, time_share(torch.tensor([timestep, timestep]), T), torch.ones(2), ALL_ON)[1]

    close(autograd(ours, predicted), slope(by_numpy, predicted), 1e-3)


def test_clamp_bounds_values_and_not_gradients():
    pictures = torch.tensor([-2.0, 0.0, 0.4, 1.0, 3.0], requires_grad=True)
    clamped = clamp_pictures(pictures)
    assert clamped.tolist() == pytest.approx([0, 0, 0.4, 1, 1])
    (clamped * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])).sum().backward()
    assert pictures.grad.tolist() == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("noise", "symbol", "equation"),
    [
        ("ldm", "L_LDM", "Eq 1"),
        ("paired", "L_paired", "Eq 4"),
        ("mask", "L_mask", "Eq 8, 9"),
        ("guided", "L_guided", "Eq 8, 9 "),
    ],
)
def test_one_noise_term_is_on(noise, symbol, equation):
    (term,) = [term for term in active_terms(ALL_ON.model_copy(update={"noise": noise})) if term.name == "noise"]
    assert term.symbol == symbol
    assert term.equation.startswith(equation)


@pytest.mark.parametrize(("name", "symbol"), [("local_clip", "L_loc"), ("global_clip", "L_global"), ("perceptual", "L_perc")])
def test_a_picture_term_is_switched_by_its_name(name, symbol):
    on, off = (active_terms(ALL_ON.model_copy(update={name: value})) for value in (True, False))
    (term,) = [term for term in on if term not in off]
    assert (term.name, term.symbol, term.needs_picture) == (name, symbol, True)


def test_terms_stand_in_the_order_of_eq_12():
    assert TERM_NAMES == ("local_clip", "global_clip", "noise", "perceptual")
    assert [term.symbol for term in active_terms(ALL_ON)] == ["L_loc", "L_global", "L_mask", "L_perc"]
    assert len({term.symbol for term in TERMS}) == len(TERMS)


def test_a_term_that_is_off_weighs_zero():
    raw = {"noise": torch.ones(2), "perceptual": torch.ones(2)}
    config = ALL_ON.model_copy(update={"local_clip": False, "global_clip": False, "perceptual": False})
    weighted, total = total_loss(raw, torch.tensor([0.25, 0.5]), torch.ones(2), config)
    assert list(weighted) == list(TERM_NAMES)
    assert weighted["perceptual"].tolist() == weighted["local_clip"].tolist() == [0, 0]
    assert total.tolist() == [0.25, 0.5]
