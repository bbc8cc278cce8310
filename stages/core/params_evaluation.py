"""The sections of the parameters of an evaluation: how each system samples, and when a new version becomes champion."""

from typing import Annotated

from pydantic import Field

from stages.core.section import Guidance, Section, Share


class Gate(Section):
    """When a new version becomes champion, by 95 % intervals of its mean differences to the champion, case by case.

    CLIPScore's must reach zero, SSIM-M̄'s must lie above minus the tolerance, and one of the two must lie above zero.
    """

    ssim_m_bar_tolerance: Annotated[float, Field(ge=0)]  # points of 100
    min_preference: Share | None  # what the interval of people's preference must reach, for each question; null: not asked


class Noised(Section):
    """Sampling from the noised source: how much of it is regenerated, and how closely the prompt is followed."""

    strength: Annotated[float, Field(gt=0, le=1)]
    guidance_scale: Guidance


class Inpainting(Section):
    """Sampling from pure noise, so without a strength."""

    guidance_scale: Guidance


class Instructed(Section):
    """InstructPix2Pix's two scales: how closely prompt and source are followed."""

    guidance_scale: Annotated[float, Field(gt=1, le=100)]  # at 1 diffusers' pipeline ignores both scales
    image_guidance_scale: Guidance


class Systems(Section):
    """How the systems of Table 1 sample, chosen on the validation cases; iEdit-M uses ``sampling``, as it is served."""

    sdedit: Noised
    inpainting: Inpainting
    instruct_pix2pix: Instructed
    iedit: Noised
