"""The parameters of the check that a nightly run makes before it trains; it decides no byte, so no stage reads them."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.section import Count, Section


class Drift(Section):
    """How far the data of a night may lie from the median of earlier nights."""

    nights: Count  # earlier nights whose median is the norm
    min_nights: Count  # earlier nights from which on there is a norm
    max_difference: Annotated[float, Field(gt=0)] | None  # of shares, cosines and mask areas, either way; null: off
    max_ratio: Annotated[float, Field(gt=1)] | None  # of words in a caption and uses of a target, either way; null: off

    @field_validator("min_nights")
    @classmethod
    def _is_not_above_nights(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("nights", value)
        if value > most:  # there would never be a norm
            raise PydanticCustomError("order", "must not be above nights = {most}", {"most": most})
        return value
