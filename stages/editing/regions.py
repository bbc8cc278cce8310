"""Which parts of a photograph are edited: the whole, or crops around the marked places, at the model's own size."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of a picture, in pixels."""

MAX_REGIONS = 4  # crops of a picture; more scattered places share one crop
MAX_PLACES = 64  # separate places to sort into crops
SEARCH_SIDE = 1024  # pixels of the longer side at which separate places are searched for
TOUCHING = np.ones((3, 3))  # neighbours by an edge or a corner belong together


def crop_boxes(marked: NDArray[np.bool_], side: int, context: float) -> list[Box]:
    """Return the crops to edit a picture in, which together hold every marked pixel, each in one crop alone.

    A crop is a square, as far as the picture reaches, with the marked place in its middle. Crops that would overlap are
    joined. A place that takes up most of the picture gets the whole.

    Args:
        marked: (height, width), where the edit belongs; at least one pixel is.
        side: the least side of a crop, in pixels: the model's own size, so that nothing is enlarged more than it must be.
        context: how much around a place the model sees, on each side, as a share of the place's longer side.
    """
    height, width = marked.shape
    places = _places(marked)
    if len(places) > MAX_PLACES:
        places = [_around(places)]
    while True:
        crops = [_crop(place, (width, height), side, context) for place in places]
        pair = next(((a, b) for b in range(len(crops)) for a in range(b) if _overlap(crops[a], crops[b])), None)
        if pair is None and len(crops) <= MAX_REGIONS:
            return crops
        if pair is None:
            places = [_around(places)]
        else:
            joined = _around([places[number] for number in pair])
            places = [joined, *(place for number, place in enumerate(places) if number not in pair)]


def _places(marked: NDArray[np.bool_]) -> list[Box]:
    """Return boxes around the connected places of a mask, in rows of blocks where the picture is large."""
    height, width = marked.shape
    block = -(-max(height, width) // SEARCH_SIDE)
    padded = np.pad(marked, ((0, -height % block), (0, -width % block)))
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block).any(axis=(1, 3))
    labels, _ = ndimage.label(blocks, TOUCHING)
    return [
        (
            columns.start * block,
            rows.start * block,
            min(columns.stop * block, width),
            min(rows.stop * block, height),
        )
        for rows, columns in ndimage.find_objects(labels)
    ]


def _crop(place: Box, size: tuple[int, int], side: int, context: float) -> Box:
    """Return the square around a place, moved and cut to lie within a picture of ``size``, width and height."""
    left, top, right, bottom = place
    wanted = max(side, round(max(right - left, bottom - top) * (1 + 2 * context)))
    width, height = (min(wanted, whole) for whole in size)
    x = min(max((left + right - width) // 2, 0), size[0] - width)
    y = min(max((top + bottom - height) // 2, 0), size[1] - height)
    return x, y, x + width, y + height


def _around(places: Sequence[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*places, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
