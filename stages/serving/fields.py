"""What a process that runs a model is asked: the fields of its requests, checked."""

from typing import Annotated, Any, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.common.text import one_line
from stages.core.errors import InputError, shorten
from stages.core.params import Sampling
from stages.editing.job import EditJob
from stages.editing.pictures import decode_mask, decode_picture
from stages.editing.request import CONTEXT, EditRequest, MaskMode
from stages.editing.settings import adjust_sampling, check_images, check_prompt, check_steps
from stages.serving.wire import MAX_WORDS

Asked = TypeVar("Asked", bound="Fields")


class Fields(BaseModel):
    """What every request has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str  # a file of a picture in base64
    deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0  # seconds after which nobody waits any more

    def picture(self) -> Image.Image:
        """Return the picture.

        Raises:
            InputError: it cannot be read.
        """
        return decode_picture(self.image)


class TermFields(Fields):
    """A question how likely a picture shows some words."""

    words: Annotated[list[str], Field(min_length=1, max_length=MAX_WORDS)]


class EditFields(Fields):
    """An edit. ``None`` is the model's own setting."""

    prompt: str
    negative_prompt: str = ""
    mask: str | None = None  # a file of a mask in base64, for mask mode "given"
    mask_mode: Annotated[MaskMode, Field(strict=False)] = MaskMode.PREDICTED
    term: str | None = None
    source_term: str | None = None
    context: float = CONTEXT
    images: int = 1
    seed: int = 0
    strength: float | None = None
    guidance_scale: float | None = None
    steps: int | None = None
    previews: bool = False  # whether the progress comes with pictures
    model: str | None = None  # how the results name the model in their metadata

    def job(self, sampling: Sampling) -> EditJob:
        """Return what the editor is asked for.

        Args:
            sampling: the model's own settings.

        Raises:
            InputError: a field is out of range, or a picture cannot be read.
        """
        if (self.mask is not None) != (self.mask_mode is MaskMode.GIVEN):
            given = "no mask is given" if self.mask is None else "a mask is given"
            raise InputError(f"{given}, but mask_mode is '{self.mask_mode}'")
        changed = adjust_sampling(sampling, strength=self.strength, guidance_scale=self.guidance_scale, steps=self.steps)
        check_steps(1, check_images(self.images), changed.steps)
        request = EditRequest(
            image=self.picture(),
            prompt=check_prompt(self.prompt),
            negative_prompt=one_line(self.negative_prompt),
            mask=None if self.mask is None else decode_mask(self.mask),
            term=one_line(self.term) or None,
            source_term=one_line(self.source_term) or None,
            context=self.context,
        )
        return EditJob(request=request, mask_mode=self.mask_mode, sampling=changed, images=self.images, seed=self.seed)


def parse(kind: type[Asked], body: bytes) -> Asked:
    """Return a request.

    Raises:
        InputError: it is not JSON of that kind; the line names the first wrong field.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_context=False)[0]
        if not first["loc"]:
            raise InputError(f"the request: {first['msg']}") from error
        raise InputError(f"{'.'.join(map(str, first['loc']))} = {shorten(first['input'])}: {first['msg']}") from error
