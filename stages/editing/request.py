"""A request to the editor."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image

from stages.core.errors import InputError

MAX_ASPECT = 8  # the shorter side is edited at the model's own size, so a narrow picture would need unbounded memory
CONTEXT = 0.5  # a mask takes up half of what the model sees
CONTEXTS = (0.25, 8.0)  # the least leaves room for the seam
OWN_LEVELS = ("1", "L", "I;16", "I;16B", "I;16L", "I", "F")  # modes of one band, which NumPy reads as they are


class NothingToMaskError(InputError):
    """CLIPSeg finds none of the words in the picture; the message names them, and the caller adds what helps."""


class MaskMode(StrEnum):
    """Where the mask of an edit comes from."""

    PREDICTED = "predicted"
    GIVEN = "given"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class EditRequest:
    """One picture, and how to change it."""

    image: Image.Image  # RGB, any size; with RGBA the model sees transparent parts as white
    prompt: str  # describes the edited picture
    negative_prompt: str = ""  # what the edited picture must not show; used by guidance in place of the empty prompt
    mask: Image.Image | None = None  # of the image's size, in any mode; see binary_mask
    term: str | None = None  # the words of the prompt that the edit is about, which CLIPSeg looks for; None: all of it
    source_term: str | None = None  # what CLIPSeg looks for if it does not find ``term`` in the picture
    context: float = CONTEXT  # how much around a mask the model sees, on each side, as a share of the mask's longer side

    def own_pixels(self) -> Image.Image:
        """Return a copy of the image as it is given back: RGB, or RGBA if parts of it may be transparent."""
        return self.image.convert("RGBA" if self.image.mode == "RGBA" else "RGB")  # a copy, whatever the mode

    @property
    def mask_term(self) -> str:
        """The words that CLIPSeg looks for first."""
        return self.term or self.prompt

    def check_shape(self) -> None:
        """Raise InputError if the image is longer and narrower than MAX_ASPECT allows, or the context is out of range."""
        low, high = CONTEXTS
        if not low <= self.context <= high:
            raise InputError(f"context = {self.context:g}: must be at least {low:g} and at most {high:g}")
        width, height = self.image.size
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise InputError(f"the image is {width} × {height}: its longer side may be {MAX_ASPECT} times the shorter at most")

    def given_mask(self) -> Image.Image:
        """Return the given mask, "L" with the levels 0 and 255.

        Raises:
            InputError: there is no mask, it does not have the image's size, it cannot be read as black and white, or it is
                black everywhere.
        """
        if self.mask is None:
            raise InputError("mask mode 'given' needs a mask")
        if self.mask.size != self.image.size:
            raise InputError(f"the mask is {self.mask.size}, the image {self.image.size}: they must have one size")
        mask = binary_mask(self.mask)
        if not mask.getbbox():
            raise InputError("the mask is black everywhere: it must be white where the picture may change")
        return mask


def binary_mask(mask: Image.Image) -> Image.Image:
    """Return a mask as "L" with the levels 0 and 255.

    Two values are read as those two, whichever they are: 0 and 1 of a NumPy array, or two colours of a palette. More
    values are divided at half of the full range. One value is black if it is 0, and white otherwise.

    Raises:
        InputError: parts of the mask are transparent, its colours are equally bright, or it has more than two values of an
            unknown range.
    """
    if mask.has_transparency_data and mask.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise InputError("the mask has transparent parts: give it in black and white")
    is_coloured = mask.mode not in OWN_LEVELS
    colours = mask.convert("RGB") if is_coloured else mask
    levels = np.asarray(colours.convert("L") if is_coloured else colours)
    low, high = levels.min(), levels.max()
    if low == high and is_coloured and np.ptp(np.asarray(colours), axis=(0, 1)).any():
        raise InputError(f"the mask's colours are equally bright, each of level {low}: give it in black and white")
    if low == high:
        white = levels != 0
    elif ((levels == low) | (levels == high)).all():
        white = levels == high
    elif np.issubdtype(levels.dtype, np.integer) and levels.dtype.itemsize <= 2:
        white = levels > np.iinfo(levels.dtype).max / 2
    else:
        raise InputError(f"the mask has many values from {low:g} to {high:g}: give it in black and white")
    return Image.fromarray(np.where(white, 255, 0).astype(np.uint8))
