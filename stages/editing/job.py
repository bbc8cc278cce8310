"""What the editor is asked for, what it plans to do, and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from PIL import Image
from torch import Tensor

from stages.core.params import Sampling
from stages.editing.regions import Box
from stages.editing.request import EditRequest, MaskMode

PREVIEW_SIDE = 512  # pixels of the longer side


@dataclass(frozen=True, kw_only=True)
class EditJob:
    """A request with everything that decides its results."""

    request: EditRequest
    mask_mode: MaskMode  # where the mask comes from
    sampling: Sampling  # solver, steps, strength, guidance and mask settings
    images: int = 1  # how many different results, at least 1
    seed: int = 0  # decides the noise


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A part of a picture that is edited at the model's own size."""

    box: Box  # in the picture
    seen: Image.Image  # RGB, the part at the size at which it is edited
    mask: Tensor | None  # (1, 1, h, w), 0 or 1, given, or found in the picture; None: all of it
    amount: Image.Image | None  # "L", of the box's size: how much of the edit each pixel takes; None: decided by a found mask
    room: Tensor | None = None  # (1, 1, h, w), 1 where a predicted mask may grow, with room for its seam; None: everywhere

    @property
    def scale(self) -> float:
        """Pixels of the picture for a pixel of what is edited."""
        return (self.box[2] - self.box[0]) / self.seen.width


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A job that was checked: where its edits are made."""

    job: EditJob
    regions: tuple[Region, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for plans that are denoised in one batch: sizes, sampling and source of the mask."""
        return self.job.mask_mode, tuple(self.job.sampling.model_dump().items()), *(each.seen.size for each in self.regions)

    @cached_property
    def thumbnail(self) -> Image.Image:
        """The picture, RGB or RGBA, small enough for previews."""
        small = self.job.request.own_pixels()
        small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        return small


@dataclass(frozen=True, kw_only=True)
class Result:
    """The edits of a job."""

    images: list[Image.Image]  # of the picture's size; RGB, or RGBA where the picture is and the edits have a mask
    mask: Image.Image | None  # "L", of the picture's size: 0 where every result has the picture's own pixels


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A denoising step of several jobs was done."""

    step: int  # of the whole work, drafts included; from 1
    of: int
    previews: Callable[
        [], list[list[Image.Image]]
    ]  # for each plan its results as they are now, small; the picture itself while drafts are made


OnProgress: TypeAlias = Callable[[Progress], object]


def ignore_progress(_: Progress) -> None:
    """Do nothing after a step."""
