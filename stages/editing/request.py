"""A request to the editor."""

from dataclasses import dataclass
from enum import StrEnum

from PIL import Image
from torch import Tensor

from stages.core.errors import InputError
from stages.models.tensors import mask_to_tensor

MAX_ASPECT = 8  # the shorter side is edited at the model's own size, so a narrow picture would need unbounded memory


class MaskMode(StrEnum):
    """Where the mask of an edit comes from."""

    PREDICTED = "predicted"
    GIVEN = "given"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class EditRequest:
    """One picture, and how to change it."""

    image: Image.Image  # RGB, any size
    prompt: str  # describes the edited picture
    mask: Image.Image | None = None  # "L", of the image's size, white where the picture may change
    term: str | None = None  # the words of the prompt that the edit is about, which CLIPSeg looks for; None: all of it
    source_term: str | None = None  # what CLIPSeg looks for if it does not find ``term`` in the picture

    @property
    def mask_term(self) -> str:
        """The words that CLIPSeg looks for first."""
        return self.term or self.prompt

    def check_aspect(self) -> None:
        """Raise InputError if the image is longer and narrower than MAX_ASPECT allows."""
        width, height = self.image.size
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise InputError(f"the image is {width} × {height}: its longer side may be {MAX_ASPECT} times the shorter at most")

    def given_mask(self, size: tuple[int, int]) -> Tensor:
        """Return the given mask resized to ``size`` (width, height): (1, 1, h, w), 0 or 1.

        Raises:
            InputError: there is no mask, or it does not have the image's size.
        """
        if self.mask is None:
            raise InputError("mask mode 'given' needs a mask")
        if self.mask.size != self.image.size:
            raise InputError(f"the mask is {self.mask.size}, the image {self.image.size}: they must have one size")
        return (mask_to_tensor([self.mask.convert("L").resize(size, Image.Resampling.BILINEAR)]) >= 0.5).float()
