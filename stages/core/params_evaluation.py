"""The sections of the parameters of an evaluation: how systems sample, and when a new version becomes champion."""

from typing import Annotated

from pydantic import Field

from stages.core.section import Guidance, Section, Share


class Gate(Section):
    """When a new version becomes champion, by 95 % intervals of its mean differences to the champion, case by case.

    CLIPScore's must reach zero, SSIM-M̄'s must lie above minus the tolerance, and one of the two must lie above zero, or that of
    the share of failed edits below it. No more edits may fail than the champion's.
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


class PromptToPrompt(Section):
    """Prompt-to-Prompt, which runs the whole schedule, so without a strength."""

    guidance_scale: Guidance
    cross_share: Share  # of the steps with the source's maps of cross-attention
    self_share: Share  # of the steps with the source's maps of self-attention
