"""PIE-Bench's coding of masks: start, length, start, length, … over the pixels row by row."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.errors import InputError

Mask = NDArray[np.bool_]


def decode(runs: object, width: int, height: int, where: str) -> Mask:
    """Return a mask, (height, width); what a run has beyond the last pixel is cut off, and runs may overlap.

    Args:
        runs: untrusted.
        width: of the picture in pixels.
        height: of the picture.
        where: what holds the runs, for messages.

    Raises:
        InputError: the runs are no list of pairs of whole numbers, or one starts outside the picture.
    """
    if not isinstance(runs, list) or len(runs) % 2 or not all(type(each) is int and each >= 0 for each in runs):
        raise InputError(f"{where}: must be a list of pairs of whole numbers, start and length of each run")
    total = width * height
    starts, lengths = runs[::2], runs[1::2]
    outside = next((start for start in starts if start >= total), None)
    if outside is not None:
        raise InputError(f"{where}: a run starts at {outside}; the picture has {total} pixels")
    changes = np.zeros(total + 1, np.int64)
    np.add.at(changes, np.array(starts, np.int64), 1)
    ends = [min(start + length, total) for start, length in zip(starts, lengths, strict=True)]
    np.add.at(changes, np.array(ends, np.int64), -1)
    return (changes[:-1].cumsum() > 0).reshape(height, width)


def encode(mask: Mask) -> list[int]:
    """Return the runs of a mask, (height, width), in order."""
    steps = np.diff(mask.ravel().astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return np.stack([starts, ends - starts], axis=1).ravel().tolist()


def with_border(mask: Mask) -> Mask:
    """Return the mask with the outermost pixels set, as PIE-Bench's evaluation has it, against errors of annotation there."""
    bordered = mask.copy()
    bordered[[0, -1]] = True
    bordered[:, [0, -1]] = True
    return bordered


def to_image(mask: Mask) -> Image.Image:
    """Return a mask as an "L" image, 0 or 255."""
    return Image.fromarray(mask.astype(np.uint8) * 255)


def from_image(image: Image.Image) -> Mask:
    """Return an "L" image, 0 or 255, as a mask."""
    return np.asarray(image) > 0
