"""The sections of the parameters of a training: the terms of its loss, and how it continues from the champion."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.section import Guidance, Section, Share

Relu = Literal[1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29]  # index into VGG-16's features
Trainable = Literal["blocks", "all", "lora"]  # of the U-Net: input and middle blocks in turn, all of it, or a LoRA


class Losses(Section):
    """Which terms of the loss are on; the rows of Table 2 are settings of these."""

    noise: Literal["ldm", "paired", "mask", "guided"]  # Eq 1, Eq 4 or Eq 8; or Eq 8 with the base model as its own teacher
    guidance_scale: Guidance  # the teacher's scale at t = T; used by ``guided`` only
    global_clip: bool  # Eq 5
    local_clip: bool  # Eq 11
    perceptual: bool  # Eq 10
    perceptual_weight: Annotated[float, Field(ge=0)]  # lambda_perc of Eq 12, where the perceptual loss is on
    perceptual_layers: Annotated[tuple[Relu, ...], Field(strict=False)]  # YAML has lists only
    picture_share: Annotated[float, Field(gt=0, le=1)]  # share of samples decoded for the picture losses
    min_snr: Annotated[float, Field(gt=0)] | None  # γ of Min-SNR-γ, for the losses on the noise; null: off

    @field_validator("perceptual_layers")
    @classmethod
    def _are_some(cls, layers: tuple[Relu, ...], info: ValidationInfo) -> tuple[Relu, ...]:
        if not layers and info.data.get("perceptual", False):
            raise PydanticCustomError("no_layers", "with perceptual: true at least one layer must be named")
        return layers


class Continuation(Section):
    """A training that starts from the champion."""

    steps_share: Annotated[float, Field(gt=0, le=1)]  # share of ``steps`` that it takes
    max_changed: Share  # it starts from the base if a larger share of the pairs came or went since the champion's training
