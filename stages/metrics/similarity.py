"""Similarity of two pictures: over the whole frame, inside a mask, or outside it."""

import torch
from torch import Tensor
from torch.nn import functional

from stages.core.errors import InputError
from stages.models.vgg import Vgg

SIGMA, RADIUS = 1.5, 5  # pixels; 11 taps (Wang et al. 2004, section III-C)
C1, C2 = 0.01**2, 0.03**2  # (K L)² for a data range L = 1
LPIPS_LAYERS = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 of VGG-16 (Zhang et al. 2018)


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity around every pixel (Wang et al. 2004, equation 13), averaged over the channels.

    Population covariance under a Gaussian window; at the border the picture is mirrored, its edge repeated. Equal to the
    ``full`` map of ``skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1)``.

    Args:
        first: (n, c, H, W) in [0, 1]; H and W at least 11.
        second: the same shape and range.

    Returns:
        (n, H, W) in [-1, 1], double precision because variances are small differences of large numbers.

    Raises:
        InputError: the shapes differ, or a side is too short for the window.
    """
    if first.shape != second.shape or min(first.shape[-2:]) < 2 * RADIUS + 1:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise InputError(f"SSIM of pictures of shapes {shapes}: they must be equal, with sides of at least {2 * RADIUS + 1}")
    x, y = first.double(), second.double()
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return (luminance * (2 * covariance + C2) / (variance_x + variance_y + C2)).mean(dim=1)


def ssim_frame(first: Tensor, second: Tensor, region: Tensor) -> Tensor:
    """SSIM of the whole frames after both are multiplied by ``region``; the black rest counts as equal.

    The magnitudes of the paper's SSIM-M and SSIM-M̄ fit this form. Like scikit-image's scalar, the mean leaves out a
    border of 5 pixels, where the window would reach beyond the picture.

    Args:
        first: (n, c, H, W) in [0, 1].
        second: the same shape and range.
        region: (n, 1, H, W) in [0, 1]: M, or 1 - M.

    Returns:
        (n,) in percent; NaN where the region is empty.
    """
    inner = ssim_map(first * region, second * region)[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    return _where_any(100 * inner.mean(dim=(1, 2)), region)


def ssim_region(first: Tensor, second: Tensor, region: Tensor) -> Tensor:
    """Mean of the SSIM map of the whole frames over ``region``, the border included.

    Args:
        first: (n, c, H, W) in [0, 1].
        second: the same shape and range.
        region: (n, 1, H, W) in [0, 1]; values between 0 and 1 are weights.

    Returns:
        (n,) in percent; NaN where the region is empty.
    """
    weights = region.squeeze(1).double()
    return 100 * (ssim_map(first, second) * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))  # 0/0 is NaN


@torch.no_grad()
def perceptual_distance(vgg: Vgg, first: Tensor, second: Tensor, region: Tensor) -> Tensor:
    """Distance of deep features over ``region``: LPIPS (Zhang et al. 2018, equation 1) with all channel weights 1.

    At every position the features of a layer are scaled to unit length over the channels. Their squared difference is
    averaged over the region, which is resized by area to the layer's size, and then over the layers.

    Args:
        vgg: computes the features.
        first: (n, 3, H, W) in [0, 1].
        second: the same shape and range.
        region: (n, 1, H, W) in [0, 1]; the weight of each position.

    Returns:
        (n,) in [0, 2], because ReLU features are not negative; NaN where the region is empty.
    """
    layers = []
    for one, other in zip(vgg(first, LPIPS_LAYERS), vgg(second, LPIPS_LAYERS), strict=True):
        squared = (functional.normalize(one, eps=1e-10) - functional.normalize(other, eps=1e-10)).square().sum(dim=1)
        weights = functional.interpolate(region, squared.shape[-2:], mode="area").squeeze(1)
        layers.append((squared * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2)))
    return torch.stack(layers).mean(dim=0).double()


def perceptual_outside(vgg: Vgg, source: Tensor, edit: Tensor, mask: Tensor) -> Tensor:
    """Perceptual distance of an edit to its source outside the mask.

    The edit is first overwritten with the source inside the mask, because the receptive field of a feature is larger
    than its position and would count a change inside as one outside. So 0 means that nothing outside changed.

    Args:
        vgg: computes the features.
        source: (n, 3, H, W) in [0, 1].
        edit: the same shape and range.
        mask: (n, 1, H, W) in [0, 1], 1 where the edit belongs.

    Returns:
        (n,) in [0, 2]; NaN where the mask covers the whole picture.
    """
    return perceptual_distance(vgg, source, mask * source + (1 - mask) * edit, 1 - mask)


def _blur(pictures: Tensor) -> Tensor:
    """Filter (n, c, H, W) with the Gaussian window, rows first, then columns."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=pictures.dtype, device=pictures.device)
    taps = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    taps = (taps / taps.sum()).view(1, 1, 1, -1)
    rows = functional.conv2d(_mirrored(pictures.flatten(0, 1).unsqueeze(1)), taps)
    columns = functional.conv2d(_mirrored(rows.transpose(-1, -2)), taps)
    return columns.transpose(-1, -2).reshape(pictures.shape)


def _mirrored(pictures: Tensor) -> Tensor:
    """Extend the last axis by RADIUS on both sides: c b a | a b c d | d c b. Torch's "reflect" does not repeat the edge."""
    return torch.cat([pictures[..., :RADIUS].flip(-1), pictures, pictures[..., -RADIUS:].flip(-1)], dim=-1)


def _where_any(values: Tensor, region: Tensor) -> Tensor:
    return values.where(region.flatten(1).sum(dim=1) > 0, torch.nan)
