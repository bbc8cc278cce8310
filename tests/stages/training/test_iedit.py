"""iEdit: the terms of a batch against open_clip, torchvision and the VAE themselves, and the draws of its samples."""

import dataclasses
import itertools

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models.vgg import make_layers

from stages.training.iedit import EditDraws
from tests.support.equations import ALPHAS, SNR, close, normal, tensor
from tests.support.objective import LAYERS, Network, draws, measure, method_of
from tests.support.training import TRAINED, make_method, params_for, read


def by_hand(tools, batch) -> dict[str, np.ndarray]:
    """The raw terms of section 3.3 and 3.4 for ``draws()``, from open_clip, torchvision and the VAE themselves."""
    a = ALPHAS[[20, 500, 999]].reshape(-1, 1, 1, 1)
    e1, predicted = normal(9, 3, 4, 16, 16), normal(10, 3, 4, 16, 16)
    z1, z2 = batch.z1.double().numpy(), batch.z2.double().numpy()
    m1, m2 = batch.m1.numpy(), batch.m2.numpy()
    noisy = a**0.5 * z1 + (1 - a) ** 0.5 * e1
    e2 = (noisy - a**0.5 * z2) / (1 - a) ** 0.5
    clean = (noisy - (1 - a) ** 0.5 * predicted) / a**0.5

    vae = tools.diffusion.vae
    clip = open_clip.create_model(f"local-dir:{tools.folder / 'clip'}").eval()
    features = make_layers([4, 4, "M", 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"], batch_norm=False)
    stored = load_file(tools.folder / "vgg" / "model.safetensors")
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
    def test_terms_are_those_of_the_paper(self, tools, batch, noise):
        found, network = measure(tools, batch, noise=noise)
        wanted = by_hand(tools, batch)
        time = np.array([0.021, 0.501, 1.0])
        close(found["raw/noise"], wanted[noise], 1e-4)
        for name in ("global_clip", "local_clip", "perceptual"):
            close(found[f"raw/{name}"], wanted[name], 1e-3)
        total = (1 - time) * (wanted["local_clip"] + wanted["global_clip"]) + time * wanted[noise] + 0.3 * wanted["perceptual"]
        close(found["total"], total, 1e-3)
        assert network.timesteps.tolist() == [20, 500, 999]
        assert torch.equal(network.text, batch.prompt.text)

    def test_network_sees_the_noised_source(self, tools, batch):
        _, network = measure(tools, batch)
        a = ALPHAS[[20, 500, 999]].reshape(-1, 1, 1, 1)
        close(network.noisy, a**0.5 * batch.z1.numpy() + (1 - a) ** 0.5 * normal(9, 3, 4, 16, 16), 1e-4)

    @pytest.mark.parametrize("name", ["global_clip", "local_clip", "perceptual"])
    def test_a_term_that_is_off_is_zero(self, tools, batch, name):
        everything, _ = measure(tools, batch)
        assert everything[f"raw/{name}"].min() > 0
        found, _ = measure(tools, batch, **{name: False})
        assert found[f"raw/{name}"].tolist() == found[f"weighted/{name}"].tolist() == [0, 0, 0]
        for other in {"global_clip", "local_clip", "perceptual", "noise"} - {name}:
            assert torch.equal(found[f"raw/{other}"], everything[f"raw/{other}"])
        close(found["total"], (everything["total"] - everything[f"weighted/{name}"]).detach().numpy(), 1e-5)

    def test_without_losses_on_the_picture_nothing_is_decoded(self, tools, batch, monkeypatch):
        monkeypatch.setattr(type(tools.diffusion), "decode", lambda *_: pytest.fail("decoded"))
        found, _ = measure(tools, batch, global_clip=False, local_clip=False, perceptual=False)
        close(found["total"], np.array([0.021, 0.501, 1.0]) * found["raw/noise"].numpy())

    def test_dropped_samples_learn_the_source_noise_without_a_prompt(self, tools, batch):
        kept, _ = measure(tools, batch)
        found, network = measure(tools, batch, draws(False, True, False))
        eq_1 = ((normal(9, 3, 4, 16, 16) - normal(10, 3, 4, 16, 16)) ** 2).mean(axis=(1, 2, 3))
        assert found["total"][1].item() == pytest.approx(eq_1[1], rel=1e-5)
        assert found["total"][[0, 2]].tolist() == kept["total"][[0, 2]].tolist()
        assert torch.equal(network.text[1], tools.diffusion.embed_prompts([""]).text[0])
        assert torch.equal(network.text[[0, 2]], batch.prompt.text[[0, 2]])

    def test_min_snr_weighs_samples_with_and_without_prompt(self, tools, batch):
        asked = draws(False, True, False)
        plain, _ = measure(tools, batch, asked)
        found, _ = measure(tools, batch, asked, min_snr=5.0)
        weight = torch.tensor(np.minimum(1, 5 / SNR[[20, 500, 999]]))
        assert weight[0] < 0.1
        for name in ("weighted/noise", "weighted/unconditional"):
            torch.testing.assert_close(found[name], (plain[name] * weight).float(), rtol=1e-4, atol=1e-7)
        assert torch.equal(found["raw/noise"], plain["raw/noise"])
        torch.testing.assert_close(sum(value for name, value in found.items() if "weighted/" in name), found["total"])

    def test_dropped_samples_get_no_gradient_from_the_edit(self, tools, batch):
        found, network = measure(tools, batch, draws(True, True, True))
        found["total"].sum().backward()
        size = network.prediction[0].numel()
        close(network.prediction.grad, 2 * (normal(10, 3, 4, 16, 16) - normal(9, 3, 4, 16, 16)) / size, 1e-4)

    def test_a_batch_gives_what_its_samples_give_alone(self, tools, batch):
        together, _ = measure(tools, batch, draws(False, False, True))
        whole = draws(False, False, True)
        method = method_of(tools)
        for row in range(3):
            one = dataclasses.replace(batch, **{f.name: getattr(batch, f.name)[[row]] for f in dataclasses.fields(batch)})
            alone = EditDraws(**{f.name: getattr(whole, f.name)[[row]] for f in dataclasses.fields(whole)})
            found = method.losses(Network(tensor(normal(10, 3, 4, 16, 16))[[row]]), one, alone)
            for name, value in found.items():
                assert value.item() == pytest.approx(together[name][row].item(), rel=1e-4, abs=1e-7), name

    def test_shares_of_cells_with_two_targets_and_with_none(self, tools, batch):
        found, _ = measure(tools, batch)
        m1, m2 = batch.m1.numpy().astype(bool), batch.m2.numpy().astype(bool)
        both, none = (m2 & ~m1).mean(axis=(1, 2, 3)), (m1 & ~m2).mean(axis=(1, 2, 3))
        assert (both > 0).all()
        assert not np.allclose(both, none)
        close(found["share/both"], both)
        close(found["share/none"], none)

    @pytest.mark.parametrize("name", ["global_clip", "local_clip", "perceptual"])
    def test_losses_on_the_picture_reach_the_prediction(self, tools, batch, name):
        off = {"global_clip": False, "local_clip": False, "perceptual": False}
        on = {name: True}
        found, network = measure(tools, batch, **(off | on))
        found["total"].sum().backward()
        with_term = network.prediction.grad.clone()
        found, network = measure(tools, batch, **off)
        found["total"].sum().backward()
        moved = (with_term - network.prediction.grad).abs().flatten(1).max(dim=1).values
        assert (moved[:2] > 1e-9).all()
        # At t = T the weight 1 - t/T of Eq 12 is zero; the perceptual loss has none.
        assert (moved[2] > 1e-9) == (name == "perceptual")


class TestPictureShare:
    """Losses on the picture of some samples only."""

    def test_decoded_samples_are_scaled_up_for_the_others(self, tools, batch):
        everything, _ = measure(tools, batch)  # their chances are 0, 0.45 and 0.9
        found, _ = measure(tools, batch, picture_share=0.5)
        for name in ("global_clip", "local_clip", "perceptual"):
            close(found[f"raw/{name}"], everything[f"raw/{name}"].numpy() * np.array([2, 2, 0]), 1e-4)
        assert torch.equal(found["raw/noise"], everything["raw/noise"])

    def test_expected_gradient_is_that_of_decoding_all(self, tools, batch):
        def gradient(share: float, chance: Tensor) -> Tensor:
            drawn = dataclasses.replace(draws(), chance=chance)
            found, network = measure(tools, batch, drawn, picture_share=share, noise="ldm")
            found["total"].sum().backward()
            return network.prediction.grad

        whole = gradient(1.0, torch.zeros(3))
        # Each of the eight ways to decode three samples, as likely as the others at a share of one half.
        ways = [torch.tensor(way) for way in itertools.product((0.25, 0.75), repeat=3)]
        mean = torch.stack([gradient(0.5, way) for way in ways]).mean(dim=0)
        torch.testing.assert_close(mean, whole, rtol=1e-3, atol=1e-8)

    def test_nothing_is_decoded_when_no_sample_is_drawn(self, tools, batch, monkeypatch):
        monkeypatch.setattr(type(tools.diffusion), "decode", lambda *_: pytest.fail("decoded"))
        asked = dataclasses.replace(draws(), chance=torch.full((3,), 0.9))
        found, _ = measure(tools, batch, asked, picture_share=0.5)
        assert found["raw/perceptual"].tolist() == [0, 0, 0]

    def test_samples_without_prompt_are_not_decoded(self, tools, batch, monkeypatch):
        decode, decoded = type(tools.diffusion).decode, []
        monkeypatch.setattr(type(tools.diffusion), "decode", lambda self, z: decoded.append(len(z)) or decode(self, z))
        measure(tools, batch, draws(True, False, True))
        assert decoded == [1]


def test_input_and_middle_blocks_are_trainable(tools):
    method = make_method(tools, params_for(tools.folder).train)
    found = {id(weight) for block in method.blocks().values() for weight in block.parameters()}
    wanted = {id(weight) for name, weight in method.unet.named_parameters() if name.startswith(TRAINED)}
    assert found == wanted


def draw(tools, dropout: float, shape: torch.Size, seed: int, numbers: list[int]) -> EditDraws:
    """Return what iEdit draws for some samples, a share ``dropout`` of which has no prompt."""
    return make_method(tools, params_for(tools.folder, unconditional=dropout).train).draw(shape, seed, numbers)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_weighted_terms_of_every_sample_add_up_to_its_total(tools, share):
    numbers = list(range(5))
    batch = read(tools.data, numbers)
    config = params_for(tools.folder).train
    drawn = draw(tools, share, batch.z1.shape[1:], 0, numbers)
    with torch.no_grad():
        terms = make_method(tools, config).losses(tools.diffusion.unet, batch, drawn)
    names = [name for name in terms if name.startswith("weighted/")]
    torch.testing.assert_close(sum(terms[name] for name in names), terms["total"])
    assert (terms["weighted/unconditional"] > 0).tolist() == drawn.without_prompt.tolist()
    assert (terms["weighted/noise"] > 0).tolist() == (~drawn.without_prompt).tolist()


def test_a_draw_depends_on_its_number_alone(tools):
    shape = torch.Size((4, 3, 3))
    torch.manual_seed(1)
    many = draw(tools, 0.5, shape, 0, [3, 4, 5, 6])
    torch.manual_seed(2)
    some = draw(tools, 0.5, shape, 0, [5, 3])
    for name in ("timesteps", "noise", "without_prompt", "chance"):
        assert torch.equal(getattr(some, name), getattr(many, name)[[2, 0]])
    assert not torch.equal(draw(tools, 0.5, shape, 1, [3]).noise, many.noise[:1])


def test_draws_have_the_wanted_distributions(tools):
    found = draw(tools, 0.25, torch.Size((2, 2, 2)), 0, list(range(2000)))
    assert found.timesteps.min() < 10
    assert 990 <= found.timesteps.max() <= 999
    assert abs(found.timesteps.double().mean() - 499.5) < 30
    assert abs(found.without_prompt.double().mean() - 0.25) < 0.04
    assert abs(found.noise.mean()) < 0.03
    assert abs(found.noise.std() - 1) < 0.03


@pytest.mark.parametrize(("share", "wanted"), [(0.0, False), (1.0, True)])
def test_share_without_prompt_at_its_ends(tools, share, wanted):
    assert draw(tools, share, torch.Size((1,)), 0, list(range(50))).without_prompt.tolist() == [wanted] * 50
