"""The benchmarks' measures beside torchmetrics, transformers and loops that follow the authors' definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine as scipy_distance
from torchmetrics.functional.multimodal import clip_score
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.regression import MeanSquaredError
from torchvision import transforms
from transformers import CLIPImageProcessorPil

from stages.benchmarks import metrics
from stages.models.clip import load_clip
from stages.models.dino import load_dino
from stages.models.lpips import load_lpips
from stages.models.tensors import to_tensor
from tests.support.judges import box, saved_lpips, smooth, their_lpips, tiny_dino

FIRST, SECOND = smooth(1), smooth(2)
REGION = torch.from_numpy(~box()).float()[None, None]
EMPTY = torch.zeros_like(REGION)


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    return load_dino(tiny_dino(tmp_path_factory.mktemp("dino")))


@pytest.fixture(scope="module")
def clip(models):
    return load_clip(models.judge)


def masked(image) -> torch.Tensor:
    """A picture as PIE-Bench's code masks it: float32 in [0, 1], times the mask, channels first."""
    pixels = np.array(image).astype(np.float32) / 255 * (~box()).astype(np.float32)[..., None]
    return torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0)


@pytest.mark.parametrize(
    ("measure", "theirs"),
    [
        (lambda *args: metrics.psnr(metrics.mse_frame(*args)), PeakSignalNoiseRatio(data_range=1.0)),
        (metrics.mse_frame, MeanSquaredError()),
    ],
    ids=["psnr", "mse"],
)
def test_frame_measures_are_those_of_torchmetrics(measure, theirs):
    expected = float(theirs(masked(FIRST).contiguous(), masked(SECOND).contiguous()))
    assert measure(to_tensor([FIRST]), to_tensor([SECOND]), REGION) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_frames_is_that_of_torchmetrics_without_its_border():
    """Up to version 1.4.1 torchmetrics left out the border, where the window reaches beyond the picture."""
    _, full = StructuralSimilarityIndexMeasure(data_range=1.0, return_full_image=True)(masked(FIRST), masked(SECOND))
    expected = float(full[..., 5:-5, 5:-5].mean())
    assert metrics.ssim_frames(to_tensor([FIRST]), to_tensor([SECOND]), REGION) == pytest.approx(expected, abs=1e-4)


def test_lpips_of_frames_is_that_of_torchmetrics(tmp_path):
    theirs = their_lpips()
    found = metrics.lpips_frame(load_lpips(saved_lpips(theirs, tmp_path)), to_tensor([FIRST]), to_tensor([SECOND]), REGION)
    expected = theirs(masked(FIRST) * 2 - 1, masked(SECOND) * 2 - 1)
    assert expected.item() > 0.01
    assert found == pytest.approx(expected.item(), abs=1e-4)


def test_region_forms_do_not_count_the_rest(tmp_path):
    mixed = to_tensor([FIRST]) * REGION + to_tensor([SECOND]) * (1 - REGION)  # differs inside the box alone
    first, second = to_tensor([FIRST]), to_tensor([SECOND])
    lpips = load_lpips(saved_lpips(their_lpips(), tmp_path))
    background = (first - second)[REGION.expand_as(first).bool()]
    assert metrics.mse_region(first, second, REGION) == pytest.approx(float(background.square().mean()), abs=1e-7)
    assert metrics.mse_frame(first, second, REGION) < metrics.mse_region(first, second, REGION)
    assert metrics.mse_region(first, mixed, REGION) == 0
    assert metrics.psnr(metrics.mse_region(first, mixed, REGION)) == math.inf
    assert metrics.lpips_region(lpips, first, mixed, REGION) < metrics.lpips_region(lpips, first, second, REGION)
    ones = torch.ones_like(REGION)
    whole = metrics.lpips_frame(lpips, first, second, ones)
    assert metrics.lpips_region(lpips, first, second, ones) == pytest.approx(whole, rel=1e-5)


def test_an_empty_region_leaves_measures_undefined(tmp_path):
    lpips = load_lpips(saved_lpips(their_lpips(), tmp_path))
    args = to_tensor([FIRST]), to_tensor([SECOND]), EMPTY
    found = [measure(*args) for measure in (metrics.mse_frame, metrics.mse_region, metrics.ssim_frames, metrics.ssim_inside)]
    found += [metrics.lpips_frame(lpips, *args), metrics.lpips_region(lpips, *args), metrics.psnr(metrics.mse_frame(*args))]
    assert all(math.isnan(value) for value in found)


@pytest.mark.parametrize(
    ("scale", "antialias", "height", "places"),
    [(255, False, 64, 28 * 28), (1, True, 64, 28 * 28), (1, True, 48, 28 * 37)],
    ids=["as published", "mended", "not square"],
)
def test_structure_distance_compares_all_pairs_of_places(dino, scale, antialias, height, places):
    images = [smooth(seed, height=height) for seed in (1, 2)]
    resize = transforms.Resize(224, max_size=480, antialias=antialias)
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    maps = []
    for image in images:
        pixels = torch.from_numpy(np.transpose(np.array(image).astype(np.float32) * scale / 255, (2, 0, 1)))
        seen = []
        hook = dino.network.blocks[-1].attn.qkv.register_forward_hook(lambda *args, seen=seen: seen.append(args[2]))
        with torch.no_grad():
            dino.network(normalise(resize(pixels))[None, ..., :296])  # whole patches of 8 columns
        hook.remove()
        keys = (
            seen[0].reshape(1 + places, 3, 3, 4)[:, 1].reshape(1 + places, 12).double().numpy()
        )  # tokens, (q, k, v), heads, channels
        lengths = np.linalg.norm(keys, axis=1)
        maps.append(keys @ keys.T / np.maximum(np.outer(lengths, lengths), 1e-8))
    expected = ((maps[0] - maps[1]) ** 2).mean()
    first, second = (to_tensor([image]) * scale for image in images)
    found = metrics.structure_distance(dino, first, second, antialias=antialias)
    assert expected > 0.001
    assert found == pytest.approx(expected, abs=1e-4)


def test_clip_sees_what_transformers_shows_it(clip):
    image = smooth(3, width=90, height=70)
    seen = []
    hook = clip.model.visual.register_forward_hook(lambda *args: seen.append(args[1][0]))
    metrics.embed_for_clip(clip, image)
    hook.remove()
    size = {"shortest_edge": clip.size}
    crop = {"height": clip.size, "width": clip.size}
    processor = CLIPImageProcessorPil(size=size, crop_size=crop, image_mean=clip.mean, image_std=clip.std)
    torch.testing.assert_close(seen[0], processor(image, return_tensors="pt")["pixel_values"], atol=1e-4, rtol=0)


class TheirWay:
    """A CLIP and its processor as torchmetrics' CLIPScore calls them, around ours."""

    config = None

    def __init__(self, clip):
        self.clip = clip

    def to(self, _):
        return self

    def eval(self):
        return self

    def __call__(self, text=None, images=None, **_):
        if images:
            return {"pixel_values": torch.stack(images)}
        return {"input_ids": self.clip.tokenizer(text), "attention_mask": torch.zeros(1)}

    def get_image_features(self, pixels):
        images = [transforms.functional.to_pil_image(each) for each in pixels]
        return torch.stack([3 * metrics.embed_for_clip(self.clip, image) for image in images])  # of any length

    def get_text_features(self, tokens, _):
        return self.clip.model.encode_text(tokens)


def test_clip_similarity_is_torchmetrics_clip_score(clip):
    texts = ["a red dog", "a cat on the beach", "b"]
    found = [metrics.clip_similarity(metrics.embed_for_clip(clip, FIRST), clip.embed_texts([text])[0]) for text in texts]
    way = TheirWay(clip)
    pixels = torch.tensor(np.array(FIRST)).permute(2, 0, 1)
    expected = [clip_score(pixels, text, lambda: (way, way)).item() for text in texts]
    assert len(set(expected)) > 1
    assert found == pytest.approx(expected, abs=1e-4)


def test_magic_brush_measures_follow_their_definitions(clip, dino):
    pixels = [np.asarray(image, np.float64) / 255 for image in (FIRST, SECOND)]
    first, second = to_tensor([FIRST]), to_tensor([SECOND])
    assert metrics.l1(first, second) == pytest.approx(np.abs(pixels[0] - pixels[1]).mean(), abs=1e-6)
    assert metrics.l2(first, second) == pytest.approx(((pixels[0] - pixels[1]) ** 2).mean(), abs=1e-6)
    steps = [transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    steps += [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    with torch.no_grad():
        seen = [dino.network(transforms.Compose(steps)(image)[None])[0].numpy() for image in (FIRST, SECOND)]
    found = metrics.cosine(*(metrics.embed_for_dino(dino, image) for image in (FIRST, SECOND)))
    assert found == pytest.approx(1 - scipy_distance(*seen), abs=1e-4)
    one, other = (metrics.embed_for_clip(clip, image) for image in (FIRST, SECOND))
    assert metrics.cosine(one, other) == pytest.approx(1 - scipy_distance(5 * one, other), abs=1e-4)
