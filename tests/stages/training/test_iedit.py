"""iEdit: the terms of a batch against open_clip, torchvision and the VAE themselves, and the draws of its samples."""

import copy
import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor
from torchvision.models.vgg import make_layers

from stages.core.params import Losses
from stages.training.dataset import Batch
from stages.training.iedit import EditDraws, IEdit
from tests.support.equations import ALPHAS, close, normal, tensor
from tests.support.training import TRAINED, make_method, params_for

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


@pytest.fixture(scope="module")
def models(tools) -> SimpleNamespace:
    return tools


@pytest.fixture(scope="module")
def batch(models) -> Batch:
    """Three samples with rectangles for masks, as the training set returns them."""
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


def draws(*unconditional: bool, timesteps: tuple[int, ...] = (20, 500, 999)) -> EditDraws:
    return EditDraws(
        timesteps=torch.tensor(timesteps),
        noise=tensor(normal(9, len(timesteps), 4, 16, 16)),
        without_prompt=torch.tensor(unconditional or (False,) * len(timesteps)),
        chance=torch.linspace(0, 0.9, len(timesteps)),
    )


class Network:
    """Stands for a U-Net: a fixed prediction that gradients reach, and a record of its inputs."""

    def __init__(self, prediction: Tensor) -> None:
        self.prediction = prediction.clone().requires_grad_()

    def __call__(self, noisy: Tensor, timesteps: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.noisy, self.timesteps, self.text = noisy, timesteps, text
        return (self.prediction,)


def method_of(models, **changes) -> IEdit:
    return IEdit(models.diffusion, models.clip, models.vgg, ALL_ON.model_copy(update=changes), 0.2)


def measure(models, batch, asked=None, **changes) -> tuple[dict[str, Tensor], Network]:
    network = Network(tensor(normal(10, 3, 4, 16, 16)))
    return method_of(models, **changes).losses(network, batch, asked or draws()), network


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
    def test_a_term_that_is_off_is_zero(self, models, batch, name):
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
        method = method_of(models)
        for row in range(3):
            one = dataclasses.replace(batch, **{f.name: getattr(batch, f.name)[[row]] for f in dataclasses.fields(batch)})
            alone = EditDraws(**{f.name: getattr(whole, f.name)[[row]] for f in dataclasses.fields(whole)})
            found = method.losses(Network(tensor(normal(10, 3, 4, 16, 16))[[row]]), one, alone)
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

    def test_guided_base_is_the_target_within_the_mask(self, models, batch):
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
        method = IEdit(diffusion, models.clip, models.vgg, ALL_ON.model_copy(update={"noise": "guided"}), 0.2)
        network = Network(tensor(normal(10, 3, 4, 16, 16)))
        before = method.losses(network, batch, draws())["raw/noise"]
        with torch.no_grad():
            for weight in diffusion.unet.parameters():
                weight.add_(1)
        assert torch.equal(method.losses(network, batch, draws())["raw/noise"], before)

    def test_no_gradient_reaches_the_teacher(self, models, batch):
        method = method_of(models, noise="guided")
        method.losses(Network(tensor(normal(10, 3, 4, 16, 16))), batch, draws())["total"].sum().backward()
        assert all(weight.grad is None for weight in method.networks.teacher.parameters())


class TestPictureShare:
    """Losses on the picture of some samples only."""

    def test_decoded_samples_are_scaled_up_for_the_others(self, models, batch):
        everything, _ = measure(models, batch)  # their chances are 0, 0.45 and 0.9
        found, _ = measure(models, batch, picture_share=0.5)
        for name in ("global_clip", "local_clip", "perceptual"):
            close(found[f"raw/{name}"], everything[f"raw/{name}"].numpy() * np.array([2, 2, 0]), 1e-4)
        assert torch.equal(found["raw/noise"], everything["raw/noise"])

    def test_expected_gradient_is_that_of_decoding_all(self, models, batch):
        def gradient(share: float, chance: Tensor) -> Tensor:
            drawn = dataclasses.replace(draws(), chance=chance)
            found, network = measure(models, batch, drawn, picture_share=share, noise="ldm")
            found["total"].sum().backward()
            return network.prediction.grad

        whole = gradient(1.0, torch.zeros(3))
        # Each of the eight ways to decode three samples, as likely as the others at a share of one half.
        ways = [torch.tensor(way) for way in itertools.product((0.25, 0.75), repeat=3)]
        mean = torch.stack([gradient(0.5, way) for way in ways]).mean(dim=0)
        torch.testing.assert_close(mean, whole, rtol=1e-3, atol=1e-8)

    def test_nothing_is_decoded_when_no_sample_is_drawn(self, models, batch, monkeypatch):
        monkeypatch.setattr(type(models.diffusion), "decode", lambda *_: pytest.fail("decoded"))
        asked = dataclasses.replace(draws(), chance=torch.full((3,), 0.9))
        found, _ = measure(models, batch, asked, picture_share=0.5)
        assert found["raw/perceptual"].tolist() == [0, 0, 0]

    def test_samples_without_prompt_are_not_decoded(self, models, batch, monkeypatch):
        decode, decoded = type(models.diffusion).decode, []
        monkeypatch.setattr(type(models.diffusion), "decode", lambda self, z: decoded.append(len(z)) or decode(self, z))
        measure(models, batch, draws(True, False, True))
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
    batch = tools.data.read(numbers)
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
