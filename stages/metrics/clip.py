"""Metrics by CLIP. All embeddings have unit length and come from the judge, a CLIP that nothing was trained against."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

SAME = 1e-5  # a difference of unit vectors shorter than this is rounding and has no direction


def clip_score(pictures: Tensor, texts: Tensor) -> Tensor:
    """CLIPScore (Hessel et al. 2021, section 3): 2.5 max(cos, 0), in percent.

    Hessel's code puts "A photo depicts " before every text. The caller, who embeds the texts, decides whether to: the words
    only disturb a judge that was never trained on them.

    Args:
        pictures: (n, d) embeddings of the edits.
        texts: (n, d) embeddings of their edit prompts.

    Returns:
        (n,) in [0, 250].
    """
    return 250 * (pictures * texts).sum(dim=1).clamp(min=0)


def image_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of the embeddings of two pictures, (n, d) each, times 100: (n,) in [-100, 100]."""
    return 100 * (first * second).sum(dim=1)


def directional_similarity(sources: Tensor, edits: Tensor, captions: Tensor, prompts: Tensor) -> Tensor:
    """Cosine of the change of the picture and the change of the text (Gal et al. 2022, StyleGAN-NADA), times 100.

    Args:
        sources: (n, d) embeddings of the source pictures.
        edits: (n, d) embeddings of the edited pictures.
        captions: (n, d) embeddings of the sources' captions.
        prompts: (n, d) embeddings of the edit prompts.

    Returns:
        (n,) in [-100, 100]; NaN where the picture or the text did not change.
    """
    picture, text = edits - sources, prompts - captions
    still = (picture.norm(dim=1) < SAME) | (text.norm(dim=1) < SAME)
    return (100 * functional.cosine_similarity(picture, text)).masked_fill(still, torch.nan)


def edit_success(pictures: Tensor, candidates: Sequence[Tensor], targets: Sequence[int]) -> Tensor:
    """Whether the judge ranks the target term strictly first among the candidates.

    Args:
        pictures: (n, d) embeddings of the edited regions.
        candidates: for each picture the embeddings of its candidate terms, (c, d); c may differ.
        targets: for each picture the row of its target term.

    Returns:
        (n,), 100 or 0, so that the mean is a percentage; NaN where the target is the only candidate.
    """
    scores = [terms @ picture for picture, terms in zip(pictures, candidates, strict=True)]
    return torch.stack([_ranks_first(score, target) for score, target in zip(scores, targets, strict=True)])


def _ranks_first(scores: Tensor, target: int) -> Tensor:
    others = torch.cat([scores[:target], scores[target + 1 :]])
    return 100 * (scores[target] > others.max()).to(scores.dtype) if len(others) else scores.new_tensor(torch.nan)


def crop_regions(pictures: Tensor, masks: Tensor, size: int, margin: float) -> Tensor:
    """Cut out the square around each mask and resize it.

    The side of the square is the longer side of the mask's bounding box plus a margin, at most the shorter side of the
    picture. The square is shifted to lie inside the picture, never padded.

    Args:
        pictures: (n, 3, H, W) in [0, 1].
        masks: (n, 1, H, W); inside is above 0.5. An empty mask gives the middle of the picture.
        size: the side of the crops in pixels.
        margin: added on each side, as a share of the box's longer side.

    Returns:
        (n, 3, size, size) in [0, 1].
    """
    crops = []
    for picture, mask in zip(pictures, masks, strict=True):
        height, width = picture.shape[-2:]
        rows, columns = (torch.nonzero((mask[0] > 0.5).any(dim=axis)).flatten() for axis in (1, 0))
        top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, height)
        left, right = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, width)
        side = min(round(max(bottom - top, right - left) * (1 + 2 * margin)), height, width)
        top = min(max((top + bottom - side) // 2, 0), height - side)
        left = min(max((left + right - side) // 2, 0), width - side)
        crop = picture[None, :, top : top + side, left : left + side]
        bicubic = transforms.InterpolationMode.BICUBIC
        crops.append(transforms.resize(crop, [size, size], interpolation=bicubic, antialias=True).clamp(0, 1))
    return torch.cat(crops)
