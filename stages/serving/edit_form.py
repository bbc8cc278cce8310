"""The fields of ``POST /v1/images/edits``: those of OpenAI's API, and our own."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.common.text import one_line
from stages.core.errors import InputError, cut, describe_error
from stages.editing.request import CONTEXTS, MaskMode
from stages.editing.settings import MAX_IMAGES
from stages.serving.calls import DEFAULT

AUTO = "auto"  # the picture's own size


class EditForm(BaseModel):
    """The fields of a request, checked.

    Values of OpenAI's API that an editor cannot follow are not allowed, as it does not allow what a model does not support.
    Its fields of which every value leaves the result as it is are ignored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    prompt: str
    model: str = DEFAULT
    n: int = Field(default=1, ge=1, le=MAX_IMAGES)
    size: str = AUTO  # or the picture's own, as in 640x480
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"
    background: Literal["auto", "opaque"] = "auto"
    stream: Literal["false"] = "false"

    term: str | None = None
    source_term: str | None = None
    negative_prompt: str = ""
    mask_mode: Literal["predicted", "none"] | None = None  # without a mask; None: predicted
    context: float | None = Field(default=None, ge=CONTEXTS[0], le=CONTEXTS[1])  # None, here and below: the model's own
    seed: int = Field(default=0, ge=0, lt=2**63)
    strength: float | None = Field(default=None, gt=0, le=1)
    guidance_scale: float | None = Field(default=None, ge=1, le=100)
    steps: int | None = Field(default=None, ge=1, le=999)

    quality: str = ""  # from here: ignored
    input_fidelity: str = ""
    moderation: str = ""
    output_compression: str = ""
    partial_images: str = ""
    safety_identifier: str = ""
    user: str = ""

    def mode(self, *, has_mask: bool) -> MaskMode:
        """Return where the mask comes from.

        Raises:
            InputError: a mask is given together with ``mask_mode``.
        """
        if has_mask and self.mask_mode is not None:
            raise InputError(f"mask_mode = {self.mask_mode!r}: a mask is given")
        return MaskMode.GIVEN if has_mask else MaskMode(self.mask_mode or MaskMode.PREDICTED)


def read_form(fields: Iterable[tuple[str, str]]) -> EditForm:
    """Return the fields of a request, checked.

    Args:
        fields: names and values, as they were sent.

    Raises:
        InputError: a field is missing, unknown, there twice, or its value is not allowed.
    """
    values: dict[str, str] = {}
    for name, value in fields:
        if name in values:
            raise InputError(f"{cut(one_line(name))}: is there more than once")
        values[name] = value
    try:
        return EditForm.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            raise InputError(f"{cut(one_line(str(first['loc'][0])))}: no such field") from error
        raise InputError(describe_error(first, values, EditForm)) from error
