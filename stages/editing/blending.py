"""How an edit is put into a photograph: feathered at its seam, with the photograph's colours, and nothing else touched."""

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy import ndimage
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from stages.editing.colours import in_colours_of

FAINT = 1e-3  # the weight of the mean difference, which decides only where no pixel to compare with is near


def enlarge(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a mask, "L" with the levels 0 and 255, resized with smooth outlines."""
    return mask.resize(size, Image.Resampling.BILINEAR).point([0] * 128 + [255] * 128)


def feather(marked: Image.Image, reach: int) -> Image.Image:
    """Return how much of the edit each pixel takes, "L": 255 where marked, falling to 0 within ``reach`` pixels around.

    Args:
        marked: "L", 0 or 255.
        reach: pixels, 0 or more; farther away (along rows or columns) every value is 0.
    """
    half = reach // 2
    grown = ndimage.maximum_filter(np.asarray(marked), size=2 * half + 1, mode="nearest")
    first, second = ImageFilter.BoxBlur(half // 2), ImageFilter.BoxBlur(half - half // 2)  # whole radii reach no further
    return Image.fromarray(grown).filter(first).filter(second)  # twice, so that the slope has no corners


def match_colours(edits: Tensor, sources: Tensor, masks: Tensor, cell: int) -> Tensor:
    """Return edits, (n, 3, h, w), with the colours that the sources have around the masks.

    The autoencoder changes colours a little. What it changed outside the mask, where nothing was edited, is taken back,
    and inside by as much as in the parts of the outside that are nearest.

    Args:
        edits: (n, 3, h, w) in [0, 1].
        sources: what was edited, (n, 3, h, w) in [0, 1].
        masks: (n, 1, h, w), 1 where the edit is.
        cell: pixels a side of a latent cell: one around the mask shows the edit too.
    """
    outside = 1 - torch.nn.functional.max_pool2d(masks, 2 * cell + 1, stride=1, padding=cell)
    difference = (sources - edits) * outside
    mean = difference.sum(dim=(2, 3), keepdim=True) / outside.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    near = _blur(torch.cat([difference, outside], dim=1), 2 * cell)
    return (edits + (near[:, :3] + FAINT * mean) / (near[:, 3:] + FAINT)).clamp(0, 1)


def paste(picture: Image.Image, edit: Image.Image, amount: Image.Image, at: tuple[int, int]) -> None:
    """Put an edit into a picture, in place; where ``amount`` is 0 the picture keeps its bytes.

    Args:
        picture: RGB, or RGBA, whose transparent parts the edit covers; it may have an ICC profile.
        edit: RGB, in sRGB.
        amount: "L", of the edit's size; see :func:`feather`.
        at: left and top of the edit in the picture.
    """
    coloured = in_colours_of(picture, edit)
    if picture.mode == "RGBA":
        covering = coloured.copy()
        covering.putalpha(amount)
        picture.alpha_composite(covering, at)
    else:
        picture.paste(coloured, at, amount)


def _blur(pictures: Tensor, sigma: float) -> Tensor:
    """Return pictures blurred by a Gaussian of ``sigma`` pixels; what lies beyond their border counts as 0."""
    reach = int(3 * sigma)
    padded = torch.nn.functional.pad(pictures, [reach] * 4)
    blurred = transforms.gaussian_blur(padded, [2 * reach + 1] * 2, [float(sigma)] * 2)
    return blurred[..., reach : reach + pictures.shape[-2], reach : reach + pictures.shape[-1]]
