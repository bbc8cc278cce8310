"""The noise and the losses of the paper, against its equations worked out in float64."""

import copy
import dataclasses
import itertools
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torchvision.models.vgg import make_layers

from stages.core.params import Losses
from stages.diffusion.losses import (
    clamp_pictures,
    clip_distance,
    masked_noise_loss,
    perceptual_loss,
    squared_error,
    total_loss,
)
from stages.diffusion.noise import add_noise, alpha_at, noise_towards, predict_clean, time_share
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion
from stages.models.vgg import load_vgg
from stages.training.dataset import Batch
from stages.training.iedit import Draws, Objective
from tests.support import tiny

T = 1000
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, T) ** 2  # "scaled_linear", as Stable Diffusion was trained
ALPHAS = np.cumprod(1 - BETAS)
SNR = ALPHAS / (1 - ALPHAS)
SHAPE = (3, 4, 5, 6)
TIMES = [0, 500, 999]
LAYERS = (3, 8, 15)
ALL_ON = Losses(
    noise="mask",
    guidance_scale=3.0,
    global_clip=True,
    local_clip=True,
    perceptual=True,
    perceptual_weight=0.3,
    perceptual_layers=LAYERS,
    picture_share=1.0,
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape or SHAPE)


def binary(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, size=shape or (SHAPE[0], 1, *SHAPE[2:])).astype(float)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(array)).float()


def alpha() -> tuple[np.ndarray, Tensor]:
    return ALPHAS[TIMES].reshape(-1, 1, 1, 1), alpha_at(tensor(ALPHAS), torch.tensor(TIMES))


def close(found: Tensor, wanted: np.ndarray, tolerance: float = 2e-5) -> None:
    assert found.shape == np.shape(wanted)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


class TestNoise:
    def test_schedule_is_stable_diffusions(self, models):
        found = models.diffusion.scheduler.alphas_cumprod.double().numpy()
        np.testing.assert_allclose(found, ALPHAS, rtol=1e-4)
        snr = found / (1 - found)
        np.testing.assert_allclose(snr[[0, 100, 500, 999]], [1175, 8.45, 0.38, 0.0047], rtol=0.01)

    def test_time_share_bounds_the_signal_to_noise_ratio(self, models):
        alphas = models.diffusion.scheduler.alphas_cumprod.double()
        share = time_share(torch.arange(T), T)
        assert (share[0].item(), share[-1].item()) == (pytest.approx(0.001), 1.0)
        weighted = share * alphas / (1 - alphas)
        assert weighted.max().item() == pytest.approx(1.175, abs=2e-3)
        assert (weighted.diff() < 0).all()
        assert weighted.mean().item() == pytest.approx(0.318, abs=2e-3)

    def test_alpha_is_taken_at_each_samples_timestep(self):
        assert alpha()[1].flatten().tolist() == pytest.approx(ALPHAS[TIMES].tolist(), rel=1e-6)

    def test_eq_2(self):
        a, a_torch = alpha()
        z1, e1 = normal(1), normal(2)
        close(add_noise(tensor(z1), tensor(e1), a_torch), a**0.5 * z1 + (1 - a) ** 0.5 * e1)

    def test_eq_3_is_the_source_noise_moved_by_the_difference(self):
        z1, z2, e1 = normal(1), normal(2), normal(3)
        _, a = alpha()
        e2 = noise_towards(add_noise(tensor(z1), tensor(e1), a), tensor(z2), a)
        close(e2, e1 + SNR[TIMES].reshape(-1, 1, 1, 1) ** 0.5 * (z1 - z2), 1e-4)

    def test_eq_7_undoes_eq_2(self):
        z1, e1 = normal(1), normal(2)
        _, a = alpha()
        close(predict_clean(add_noise(tensor(z1), tensor(e1), a), tensor(e1), a), z1, 1e-4)

    def test_noise_error_is_the_picture_error_times_the_ratio(self):
        z1, z2, e1, predicted = (tensor(normal(seed)) for seed in range(4))
        _, a = alpha()
        noisy = add_noise(z1, e1, a)
        noise_error = squared_error(predicted, noise_towards(noisy, z2, a))
        picture_error = squared_error(predict_clean(noisy, predicted, a), z2)
        close(noise_error, SNR[TIMES] * picture_error.double().numpy(), 1e-3)


class TestEquations:
    def test_eq_1_and_4(self):
        predicted, wanted = normal(1), normal(2)
        close(squared_error(tensor(predicted), tensor(wanted)), ((wanted - predicted) ** 2).mean(axis=(1, 2, 3)))

    def test_eq_5_and_11(self):
        pictures, texts = normal(1, 3, 7), normal(2, 3, 7)
        cosine = (pictures * texts).sum(1) / np.linalg.norm(pictures, axis=1) / np.linalg.norm(texts, axis=1)
        close(clip_distance(*(functional.normalize(tensor(each)) for each in (pictures, texts))), 1 - cosine)

    def test_eq_8_and_9(self):
        predicted, e1, e2 = normal(1), normal(2), normal(3)
        m1, m2 = binary(4), binary(5)
        foreground = (e2 * m2 - predicted * m2) ** 2
        background = (e1 * (1 - m1) - predicted * (1 - m1)) ** 2
        found = masked_noise_loss(*map(tensor, (predicted, e1, e2, m1, m2)))
        close(found, foreground.mean(axis=(1, 2, 3)) + background.mean(axis=(1, 2, 3)))

    def test_eq_9_with_full_masks_is_eq_4(self):
        predicted, e1, e2 = (tensor(normal(seed)) for seed in range(3))
        ones = torch.ones(3, 1, 5, 6)
        assert torch.equal(masked_noise_loss(predicted, e1, e2, ones, ones), squared_error(predicted, e2))

    def test_eq_9_with_empty_masks_is_eq_1(self):
        predicted, e1, e2 = (tensor(normal(seed)) for seed in range(3))
        zeros = torch.zeros(3, 1, 5, 6)
        assert torch.equal(masked_noise_loss(predicted, e1, e2, zeros, zeros), squared_error(predicted, e1))

    def test_eq_10_weighs_every_layer_the_same(self):
        edited = [normal(1, 2, 3, 8, 8), normal(2, 2, 5, 4, 4)]
        target = [normal(3, 2, 3, 8, 8), normal(4, 2, 5, 4, 4)]
        errors = [((one - other) ** 2).mean(axis=(1, 2, 3)) for one, other in zip(edited, target, strict=True)]
        found = perceptual_loss([tensor(each) for each in edited], [tensor(each) for each in target])
        close(found, (errors[0] + errors[1]) / 2)

    def test_eq_12(self):
        local, everywhere, noise, perceptual = (np.abs(normal(seed, 3)) for seed in range(4))
        time = np.array([0.001, 0.25, 1.0])
        found = total_loss(
            local_clip=tensor(local),
            global_clip=tensor(everywhere),
            noise=tensor(noise),
            perceptual=tensor(perceptual),
            time=tensor(time),
            perceptual_weight=0.02,
        )
        close(found["total"], (1 - time) * (local + everywhere) + time * noise + 0.02 * perceptual)
        close(found["local_clip"], (1 - time) * local)
        close(found["global_clip"], (1 - time) * everywhere)
        close(found["noise"], time * noise)
        close(found["perceptual"], 0.02 * perceptual)

    def test_half_precision_predictions_are_compared_in_single(self):
        predicted, wanted = tensor(normal(1)) * 300, tensor(normal(2))
        assert squared_error(predicted.half(), wanted.half()).dtype == torch.float32
        ones = torch.ones(3, 1, 5, 6)
        assert torch.isfinite(masked_noise_loss(predicted.half(), wanted, wanted, ones, ones)).all()


def slope(loss: Callable[[np.ndarray], np.ndarray], point: np.ndarray) -> np.ndarray:
    """The gradient of the sum of a loss by central differences in float64."""
    found = np.zeros_like(point)
    for place in np.ndindex(*point.shape):
        step = np.zeros_like(point)
        step[place] = 1e-6
        found[place] = (loss(point + step).sum() - loss(point - step).sum()) / 2e-6
    return found


def autograd(loss: Callable[[Tensor], Tensor], point: np.ndarray) -> Tensor:
    at = tensor(point).requires_grad_()
    loss(at).sum().backward()
    assert at.grad is not None
    return at.grad


def mean_square(array: np.ndarray) -> np.ndarray:
    return (array**2).reshape(len(array), -1).mean(axis=1)


def distance(found: np.ndarray, text: np.ndarray) -> np.ndarray:
    return 1 - (found * text).sum(1) / np.linalg.norm(found, axis=1)


class TestGradients:
    """Every loss against central differences of the same equation in float64 numpy; no term is near zero."""

    small = (2, 2, 2, 3)

    def test_eq_1_and_4(self):
        predicted, wanted = normal(1, *self.small), normal(2, *self.small)
        by_hand = slope(lambda point: mean_square(point - wanted), predicted)
        close(autograd(lambda point: squared_error(point, tensor(wanted)), predicted), by_hand)

    def test_eq_9(self):
        predicted, e1, e2 = (normal(seed, *self.small) for seed in (1, 2, 3))
        m1, m2 = binary(4, 2, 1, 2, 3), binary(5, 2, 1, 2, 3)
        weights = np.array([0.7, 1.9])
        by_hand = slope(
            lambda point: weights * (mean_square(m2 * (point - e2)) + mean_square((1 - m1) * (point - e1))), predicted
        )
        assert np.abs(by_hand).max() > 0.1
        others = [tensor(each) for each in (e1, e2, m1, m2)]
        close(autograd(lambda point: tensor(weights) * masked_noise_loss(point, *others), predicted), by_hand)

    def test_eq_5_and_11(self):
        found, text = normal(1, 2, 5), normal(2, 2, 5)
        text /= np.linalg.norm(text, axis=1, keepdims=True)
        by_hand = slope(lambda point: distance(point, text), found)
        close(autograd(lambda point: clip_distance(functional.normalize(point), tensor(text)), found), by_hand)

    def test_eq_10(self):
        picture, target = normal(1, *self.small), normal(2, *self.small)
        mixing = normal(3, 12, 7)  # stands for a second layer

        def by_numpy(point: np.ndarray) -> np.ndarray:
            second = (point - target).reshape(2, -1) @ mixing
            return (mean_square(point - target) + mean_square(second)) / 2

        def ours(point: Tensor) -> Tensor:
            layers = [[each, each.flatten(1) @ tensor(mixing)] for each in (point, tensor(target))]
            return perceptual_loss(*layers)

        close(autograd(ours, picture), slope(by_numpy, picture))

    @pytest.mark.parametrize("timestep", [0, 300, 999])
    def test_eq_12_from_the_prediction_through_eq_3_and_7(self, timestep):
        """All terms at once, with linear maps for decoder, CLIP and VGG: what the prediction is told at this timestep."""
        predicted, z1, z2, e1 = (normal(seed, *self.small) for seed in range(4))
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

            return total_loss(
                local_clip=clip_distance(embed(tensor(m1) * clean), tensor(diff)),
                global_clip=clip_distance(embed(clean), tensor(text)),
                noise=masked_noise_loss(
                    point, tensor(e1), noise_towards(tensor(noisy), tensor(z2), alpha), tensor(m1), tensor(m2)
                ),
                perceptual=perceptual_loss(
                    [(tensor(m1) * clean).flatten(1) @ tensor(vgg)], [(tensor(m2) * tensor(z2)).flatten(1) @ tensor(vgg)]
                ),
                time=time_share(torch.tensor([timestep, timestep]), T),
                perceptual_weight=weight,
            )["total"]

        close(autograd(ours, predicted), slope(by_numpy, predicted), 1e-3)

    def test_clamp_bounds_values_and_not_gradients(self):
        pictures = torch.tensor([-2.0, 0.0, 0.4, 1.0, 3.0], requires_grad=True)
        clamped = clamp_pictures(pictures)
        assert clamped.tolist() == pytest.approx([0, 0, 0.4, 1, 1])
        (clamped * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])).sum().backward()
        assert pictures.grad.tolist() == [5, 4, 3, 2, 1]

    def test_clean_latents_are_steepest_where_the_noise_is_strongest(self):
        predicted = torch.zeros(1, 1, 1, 1, requires_grad=True)
        predict_clean(torch.ones(1, 1, 1, 1), predicted, alpha_at(tensor(ALPHAS), torch.tensor([999]))).sum().backward()
        assert -predicted.grad.item() == pytest.approx(14.6, abs=0.1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return SimpleNamespace(
        diffusion=load_diffusion(tiny.tiny_diffusion(folder / "diffusion")),
        clip=load_clip(tiny.tiny_clip(folder / "clip")),
        vgg=load_vgg(tiny.tiny_vgg(folder / "vgg")),
        folder=folder,
    )


@pytest.fixture(scope="module")
def batch(models) -> Batch:
    """Three samples with rectangles for masks, as the training set would hand them out."""
    rng = np.random.default_rng(0)
    source_mask, target_mask = np.zeros((3, 1, 32, 32)), np.zeros((3, 1, 32, 32))
    for row in range(3):
        source_mask[row, 0, 4 : 12 + 4 * row, 2:22] = 1
        target_mask[row, 0, 8:24, 6 : 18 + 2 * row] = 1
    return Batch(
        z1=tensor(rng.standard_normal((3, 4, 16, 16))),
        z2=tensor(rng.standard_normal((3, 4, 16, 16))),
        m1=tensor(source_mask[:, :, ::2, ::2]),
        m2=tensor(target_mask[:, :, ::2, ::2]),
        source_mask=tensor(source_mask),
        target_mask=tensor(target_mask),
        target=tensor(rng.random((3, 3, 32, 32))),
        text=models.diffusion.embed_prompts(["a red dog", "a cat", "a blue car"]),
        clip_prompt=models.clip.embed_texts(["a red dog", "a cat", "a blue car"]),
        clip_diff=models.clip.embed_texts(["red dog", "cat", "blue car"]),
    )


def draws(*unconditional: bool, timesteps: tuple[int, ...] = (20, 500, 999)) -> Draws:
    return Draws(
        timesteps=torch.tensor(timesteps),
        noise=tensor(normal(9, len(timesteps), 4, 16, 16)),
        unconditional=torch.tensor(unconditional or (False,) * len(timesteps)),
        chance=torch.linspace(0, 0.9, len(timesteps)),
    )


class Network:
    """Stands for a U-Net: a fixed prediction that gradients reach, and a record of what it was asked."""

    def __init__(self, prediction: Tensor) -> None:
        self.prediction = prediction.clone().requires_grad_()

    def __call__(self, noisy: Tensor, timesteps: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.noisy, self.timesteps, self.text = noisy, timesteps, text
        return (self.prediction,)


def measure(models, batch, asked=None, **changes) -> tuple[dict[str, Tensor], Network]:
    objective = Objective(models.diffusion, models.clip, models.vgg, ALL_ON.model_copy(update=changes))
    network = Network(tensor(normal(10, 3, 4, 16, 16)))
    return objective(network, batch, asked or draws()), network


def by_hand(models, batch) -> dict[str, np.ndarray]:
    """The raw terms of section 3.3 and 3.4 for ``draws()``, from open_clip, torchvision and the VAE themselves."""
    a = ALPHAS[[20, 500, 999]].reshape(-1, 1, 1, 1)
    e1, predicted = normal(9, 3, 4, 16, 16), normal(10, 3, 4, 16, 16)
    z1, z2 = batch.z1.double().numpy(), batch.z2.double().numpy()
    m1, m2 = batch.m1.numpy(), batch.m2.numpy()
    noisy = a**0.5 * z1 + (1 - a) ** 0.5 * e1
    e2 = (noisy - a**0.5 * z2) / (1 - a) ** 0.5
    clean = (noisy - (1 - a) ** 0.5 * predicted) / a**0.5

    vae = models.diffusion.vae
    clip = open_clip.create_model(f"local-dir:{models.folder / 'clip'}").eval()
    features = make_layers([4, 4, "M", 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"], batch_norm=False)
    stored = load_file(models.folder / "vgg" / "model.safetensors")
    features.load_state_dict({name.removeprefix("features."): value for name, value in stored.items()})

    def embed(pictures: Tensor) -> np.ndarray:
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (clip.visual.image_mean, clip.visual.image_std))
        found = clip.encode_image((pictures - mean) / std).double().numpy()
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def layers(pictures: Tensor) -> list[np.ndarray]:
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        hidden = (pictures - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        return [features[: layer + 1](hidden).double().numpy() for layer in LAYERS]

    with torch.no_grad():
        picture = ((vae.decode(tensor(clean) / 0.18215).sample + 1) / 2).clamp(0, 1)
        whole, region = embed(picture), embed(picture * batch.source_mask)
        pairs = zip(layers(picture * batch.source_mask), layers(batch.target * batch.target_mask), strict=True)
        perceptual = np.mean([((one - other) ** 2).mean(axis=(1, 2, 3)) for one, other in pairs], axis=0)
    mean = (1, 2, 3)
    return {
        "ldm": ((e1 - predicted) ** 2).mean(axis=mean),
        "paired": ((e2 - predicted) ** 2).mean(axis=mean),
        "mask": ((m2 * (e2 - predicted)) ** 2 + ((1 - m1) * (e1 - predicted)) ** 2).mean(axis=mean),
        "global_clip": 1 - (whole * batch.clip_prompt.numpy()).sum(1),
        "local_clip": 1 - (region * batch.clip_diff.numpy()).sum(1),
        "perceptual": perceptual,
    }


class TestObjective:
    @pytest.mark.parametrize("noise", ["ldm", "paired", "mask"])
    def test_terms_are_those_of_the_paper(self, models, batch, noise):
        found, network = measure(models, batch, noise=noise)
        wanted = by_hand(models, batch)
        time = np.array([0.021, 0.501, 1.0])
        close(found["raw/noise"], wanted[noise], 1e-4)
        for name in ("global_clip", "local_clip", "perceptual"):
            close(found[f"raw/{name}"], wanted[name], 1e-3)
        total = (1 - time) * (wanted["local_clip"] + wanted["global_clip"]) + time * wanted[noise] + 0.3 * wanted["perceptual"]
        close(found["total"], total, 1e-3)
        assert network.timesteps.tolist() == [20, 500, 999]
        assert torch.equal(network.text, batch.text)

    def test_network_sees_the_noised_source(self, models, batch):
        _, network = measure(models, batch)
        a = ALPHAS[[20, 500, 999]].reshape(-1, 1, 1, 1)
        close(network.noisy, a**0.5 * batch.z1.numpy() + (1 - a) ** 0.5 * normal(9, 3, 4, 16, 16), 1e-4)

    @pytest.mark.parametrize("name", ["global_clip", "local_clip", "perceptual"])
    def test_a_term_that_is_off_is_zero_and_changes_no_other(self, models, batch, name):
        everything, _ = measure(models, batch)
        assert everything[f"raw/{name}"].min() > 0
        found, _ = measure(models, batch, **{name: False})
        assert found[f"raw/{name}"].tolist() == found[f"weighted/{name}"].tolist() == [0, 0, 0]
        for other in {"global_clip", "local_clip", "perceptual", "noise"} - {name}:
            assert torch.equal(found[f"raw/{other}"], everything[f"raw/{other}"])
        close(found["total"], (everything["total"] - everything[f"weighted/{name}"]).detach().numpy(), 1e-5)

    def test_without_losses_on_the_picture_nothing_is_decoded(self, models, batch, monkeypatch):
        monkeypatch.setattr(type(models.diffusion), "decode", lambda *_: pytest.fail("decoded"))
        found, _ = measure(models, batch, global_clip=False, local_clip=False, perceptual=False)
        close(found["total"], np.array([0.021, 0.501, 1.0]) * found["raw/noise"].numpy())

    def test_dropped_samples_learn_the_source_noise_without_a_prompt(self, models, batch):
        kept, _ = measure(models, batch)
        found, network = measure(models, batch, draws(False, True, False))
        eq_1 = ((normal(9, 3, 4, 16, 16) - normal(10, 3, 4, 16, 16)) ** 2).mean(axis=(1, 2, 3))
        assert found["total"][1].item() == pytest.approx(eq_1[1], rel=1e-5)
        assert found["total"][[0, 2]].tolist() == kept["total"][[0, 2]].tolist()
        assert torch.equal(network.text[1], models.diffusion.embed_prompts([""])[0])
        assert torch.equal(network.text[[0, 2]], batch.text[[0, 2]])

    def test_dropped_samples_get_no_gradient_from_the_edit(self, models, batch):
        found, network = measure(models, batch, draws(True, True, True))
        found["total"].sum().backward()
        size = network.prediction[0].numel()
        close(network.prediction.grad, 2 * (normal(10, 3, 4, 16, 16) - normal(9, 3, 4, 16, 16)) / size, 1e-4)

    def test_a_batch_gives_what_its_samples_give_alone(self, models, batch):
        together, _ = measure(models, batch, draws(False, False, True))
        whole = draws(False, False, True)
        objective = Objective(models.diffusion, models.clip, models.vgg, ALL_ON)
        for row in range(3):
            one = dataclasses.replace(batch, **{f.name: getattr(batch, f.name)[[row]] for f in dataclasses.fields(batch)})
            alone = Draws(**{f.name: getattr(whole, f.name)[[row]] for f in dataclasses.fields(whole)})
            found = objective(Network(tensor(normal(10, 3, 4, 16, 16))[[row]]), one, alone)
            for name, value in found.items():
                assert value.item() == pytest.approx(together[name][row].item(), rel=1e-4, abs=1e-7), name

    def test_shares_of_cells_with_two_targets_and_with_none(self, models, batch):
        found, _ = measure(models, batch)
        m1, m2 = batch.m1.numpy().astype(bool), batch.m2.numpy().astype(bool)
        both, none = (m2 & ~m1).mean(axis=(1, 2, 3)), (m1 & ~m2).mean(axis=(1, 2, 3))
        assert (both > 0).all()
        assert not np.allclose(both, none)
        close(found["share/both"], both)
        close(found["share/none"], none)

    @pytest.mark.parametrize("name", ["global_clip", "local_clip", "perceptual"])
    def test_losses_on_the_picture_reach_the_prediction(self, models, batch, name):
        off = {"global_clip": False, "local_clip": False, "perceptual": False}
        on = {name: True}
        found, network = measure(models, batch, **(off | on))
        found["total"].sum().backward()
        with_term = network.prediction.grad.clone()
        found, network = measure(models, batch, **off)
        found["total"].sum().backward()
        moved = (with_term - network.prediction.grad).abs().flatten(1).max(dim=1).values
        assert (moved[:2] > 1e-9).all()
        # At t = T the weight 1 - t/T of Eq 12 is zero; the perceptual loss has none.
        assert (moved[2] > 1e-9) == (name == "perceptual")


class TestGuided:
    """The base model as its own teacher, where the edit is."""

    def teacher(self, models, batch) -> tuple[np.ndarray, np.ndarray]:
        """Return what the base predicts of the noised source without and with the prompt."""
        unet, a = models.diffusion.unet, ALPHAS[[20, 500, 999]].reshape(-1, 1, 1, 1)
        noisy = tensor(a**0.5 * batch.z1.numpy() + (1 - a) ** 0.5 * normal(9, 3, 4, 16, 16))
        times, empty = torch.tensor([20, 500, 999]), models.diffusion.embed_prompts([""]).expand_as(batch.text)
        with torch.no_grad():
            return tuple(unet(noisy, times, text).sample.double().numpy() for text in (empty, batch.text))

    def test_within_the_mask_the_guided_base_is_the_target_and_the_source_noise_elsewhere(self, models, batch):
        found, _ = measure(models, batch, noise="guided", guidance_scale=3.0)
        without, with_prompt = self.teacher(models, batch)
        around = ndimage.binary_dilation(batch.m1.numpy(), structure=np.ones((1, 1, 3, 3)))
        scale = 1 + 2 * np.array([0.021, 0.501, 1.0]).reshape(-1, 1, 1, 1)
        wanted = np.where(around, without + scale * (with_prompt - without), normal(9, 3, 4, 16, 16))
        close(found["raw/noise"], ((wanted - normal(10, 3, 4, 16, 16)) ** 2).mean(axis=(1, 2, 3)), 1e-3)

    def test_the_gradient_is_that_of_a_fixed_target(self, models, batch):
        off = {"global_clip": False, "local_clip": False, "perceptual": False}
        found, network = measure(models, batch, noise="guided", guidance_scale=1.0, **off)
        found["total"].sum().backward()
        _, with_prompt = self.teacher(models, batch)
        around = ndimage.binary_dilation(batch.m1.numpy(), structure=np.ones((1, 1, 3, 3)))
        error = network.prediction.detach().numpy() - np.where(around, with_prompt, normal(9, 3, 4, 16, 16))
        time = np.array([0.021, 0.501, 1.0]).reshape(-1, 1, 1, 1)
        close(network.prediction.grad, time * 2 * error / error[0].size, 1e-3)

    def test_the_teacher_is_the_base_as_it_was(self, models, batch):
        diffusion = dataclasses.replace(models.diffusion, unet=copy.deepcopy(models.diffusion.unet))
        objective = Objective(diffusion, models.clip, models.vgg, ALL_ON.model_copy(update={"noise": "guided"}))
        network = Network(tensor(normal(10, 3, 4, 16, 16)))
        before = objective(network, batch, draws())["raw/noise"]
        with torch.no_grad():
            for weight in diffusion.unet.parameters():
                weight.add_(1)
        assert torch.equal(objective(network, batch, draws())["raw/noise"], before)

    def test_no_gradient_reaches_the_teacher(self, models, batch):
        objective = Objective(models.diffusion, models.clip, models.vgg, ALL_ON.model_copy(update={"noise": "guided"}))
        objective(Network(tensor(normal(10, 3, 4, 16, 16))), batch, draws())["total"].sum().backward()
        assert all(weight.grad is None for weight in objective.teacher.parameters())


class TestPictureShare:
    """Losses on the picture that are taken of some samples only."""

    def test_samples_looked_at_count_for_the_others_too(self, models, batch):
        everything, _ = measure(models, batch)  # their chances are 0, 0.45 and 0.9
        found, _ = measure(models, batch, picture_share=0.5)
        for name in ("global_clip", "local_clip", "perceptual"):
            close(found[f"raw/{name}"], everything[f"raw/{name}"].numpy() * np.array([2, 2, 0]), 1e-4)
        assert torch.equal(found["raw/noise"], everything["raw/noise"])

    def test_the_expected_gradient_is_that_of_looking_at_all(self, models, batch):
        def gradient(share: float, chance: Tensor) -> Tensor:
            drawn = dataclasses.replace(draws(), chance=chance)
            found, network = measure(models, batch, drawn, picture_share=share, noise="ldm")
            found["total"].sum().backward()
            return network.prediction.grad

        whole = gradient(1.0, torch.zeros(3))
        # Each of the eight ways to look at three samples, as likely as the others at a share of one half.
        ways = [torch.tensor(way) for way in itertools.product((0.25, 0.75), repeat=3)]
        mean = torch.stack([gradient(0.5, way) for way in ways]).mean(dim=0)
        torch.testing.assert_close(mean, whole, rtol=1e-3, atol=1e-8)

    def test_where_no_sample_is_looked_at_nothing_is_decoded(self, models, batch, monkeypatch):
        monkeypatch.setattr(type(models.diffusion), "decode", lambda *_: pytest.fail("decoded"))
        asked = dataclasses.replace(draws(), chance=torch.full((3,), 0.9))
        found, _ = measure(models, batch, asked, picture_share=0.5)
        assert found["raw/perceptual"].tolist() == [0, 0, 0]

    def test_samples_without_prompt_are_not_decoded(self, models, batch, monkeypatch):
        decode, decoded = type(models.diffusion).decode, []
        monkeypatch.setattr(type(models.diffusion), "decode", lambda self, z: decoded.append(len(z)) or decode(self, z))
        measure(models, batch, draws(True, False, True))
        assert decoded == [1]
