"""The measures of the benchmarks, each as its authors' evaluation code defines it.

Pictures are (1, 3, H, W) in [0, 1] and regions (1, 1, H, W), 0 or 1, if nothing else is said. A measure of an empty region is
NaN. "Frame" forms multiply both pictures by the region and measure the whole frame, so that the black rest counts as equal and
the value depends on the size of the region; "region" forms measure the region alone.
"""

import math

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from stages.metrics.similarity import ssim_frame, ssim_region
from stages.models.clip import Clip
from stages.models.dino import Dino
from stages.models.lpips import Lpips
from stages.models.tensors import to_tensor

DINO_SIDE, DINO_LONGEST = 224, 480  # of the pictures that PIE-Bench's structure distance compares
DINO_RESIZED = 256  # MagicBrush's DINO sees the middle 224 pixels of these
NAN = float("nan")


def mse_frame(first: Tensor, second: Tensor, region: Tensor) -> float:
    """Mean squared error of the masked frames (PIE-Bench's MSE)."""
    return _if_any(region, functional.mse_loss(first * region, second * region))


def mse_region(first: Tensor, second: Tensor, region: Tensor) -> float:
    """Mean squared error over the region."""
    squared = ((first - second).square() * region).sum()
    return _if_any(region, squared / (region.sum() * first.shape[1]))


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for equal pictures."""
    return NAN if math.isnan(mse) else math.inf if mse == 0 else -10 * math.log10(mse)


def ssim_frames(first: Tensor, second: Tensor, region: Tensor) -> float:
    """SSIM of the masked frames without a border of 5 pixels (PIE-Bench's SSIM, torchmetrics' of that time), in [-1, 1]."""
    return float(ssim_frame(first, second, region)) / 100


def ssim_inside(first: Tensor, second: Tensor, region: Tensor) -> float:
    """Mean of the SSIM map of the whole pictures over the region, in [-1, 1]."""
    return float(ssim_region(first, second, region)) / 100


@torch.no_grad()
def lpips_frame(model: Lpips, first: Tensor, second: Tensor, region: Tensor) -> float:
    """LPIPS of the masked frames (PIE-Bench's LPIPS)."""
    maps = model(first * region, second * region)
    return _if_any(region, sum((each.mean() for each in maps), torch.zeros(())))


@torch.no_grad()
def lpips_region(model: Lpips, first: Tensor, second: Tensor, region: Tensor) -> float:
    """Mean of LPIPS's maps of the whole pictures over the region, which is resized by area to each layer."""
    total = torch.zeros(())
    for each in model(first, second):
        weights = functional.interpolate(region, each.shape[-2:], mode="area")
        total = total + (each * weights).sum() / weights.sum()
    return _if_any(region, total)


def structure_distance(model: Dino, first: Tensor, second: Tensor, *, antialias: bool) -> float:
    """Mean squared difference of how alike any two places are within a picture (Tumanyan et al. 2022, Splice).

    How alike two places are is the cosine of their keys in DINO's last block, all heads together; the class token counts as a
    place. PIE-Bench's code passes pictures in [0, 255] to a network for pictures in [0, 1], and its version of torchvision
    resizes them without antialiasing.

    Args:
        model: DINO.
        first: (1, 3, H, W) in the range that the network shall see.
        second: the same shape and range.
        antialias: whether pictures are resized with antialiasing.
    """
    one, other = (_self_similarity(model, picture, antialias=antialias) for picture in (first, second))
    return float(functional.mse_loss(one, other))


def _self_similarity(model: Dino, picture: Tensor, *, antialias: bool) -> Tensor:
    resized = transforms.resize(picture, [DINO_SIDE], max_size=DINO_LONGEST, antialias=antialias)
    keys = functional.normalize(model.keys(resized)[0], dim=1)
    return keys @ keys.T


def embed_for_clip(model: Clip, image: Image.Image) -> Tensor:
    """Return CLIP's embedding of an RGB image, (d,), prepared as OpenAI's code does: shorter side resized, middle cut out."""
    resized = transforms.resize(image, [model.size], interpolation=transforms.InterpolationMode.BICUBIC)
    with torch.no_grad():
        return model.embed_pictures(to_tensor([transforms.center_crop(resized, [model.size, model.size])]))[0]


def embed_for_dino(model: Dino, image: Image.Image) -> Tensor:
    """Return DINO's embedding of an RGB image, (d,), of unit length, prepared as MagicBrush's code does."""
    resized = transforms.resize(image, [DINO_RESIZED], interpolation=transforms.InterpolationMode.BICUBIC)
    return functional.normalize(model.embed(to_tensor([transforms.center_crop(resized, [DINO_SIDE, DINO_SIDE])]))[0], dim=0)


def clip_similarity(picture: Tensor, words: Tensor) -> float:
    """100 · max(cos, 0) of two embeddings of unit length, (d,) each (PIE-Bench's, torchmetrics' CLIPScore)."""
    return 100 * max(cosine(picture, words), 0.0)


def cosine(first: Tensor, second: Tensor) -> float:
    """Cosine of two embeddings of unit length, (d,) each."""
    return float(first @ second)


def l1(first: Tensor, second: Tensor) -> float:
    """Mean absolute difference (MagicBrush's L1)."""
    return float(functional.l1_loss(first, second))


def l2(first: Tensor, second: Tensor) -> float:
    """Mean squared difference (MagicBrush's L2, which is not its root)."""
    return float(functional.mse_loss(first, second))


def _if_any(region: Tensor, value: Tensor) -> float:
    return float(value) if bool(region.any()) else NAN
