"""The base class and the ranges of parameters."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.errors import shorten

Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Guidance = Annotated[float, Field(ge=1, le=100)]  # a scale of guidance, 1 is none; far above 100 the numbers overflow
Count = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]
Precision = Literal["fp32", "fp16", "bf16"]  # of numbers: 32 bits, IEEE half precision, or as many bits with the range of fp32


class Section(BaseModel):
    """A part of params.yaml: immutable, without unknown keys, and with values of exactly the declared type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        # Before all other checks: a misspelt key is also a missing one, and naming the misspelling helps more.
        known = ", ".join(cls.model_fields)
        if isinstance(values, cls):
            return values
        if not isinstance(values, Mapping):
            raise PydanticCustomError("no_section", "must be a section with the keys {known}", {"known": known})
        for key in values:
            if key not in cls.model_fields:
                name = key if isinstance(key, str) and key.isprintable() else repr(key)
                context = {"key": name, "value": shorten(values[key]), "known": known}
                raise PydanticCustomError("unknown_key", "no such key; there are {known}", context)
        return values
