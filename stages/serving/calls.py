"""What callers of the service send, what they get, and the errors that they meet."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from stages.core.errors import InputError
from stages.editing.request import MaskMode

DEFAULT = "default"  # the model that the service was started with


@dataclass(frozen=True)
class Picture:
    """A picture as it was sent: the file takes a fraction of the memory that its pixels would."""

    file: bytes  # which was decoded once, so that it is known to be one
    size: tuple[int, int]  # width and height, upright

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return self.size[0] * self.size[1]


@dataclass(frozen=True, kw_only=True)
class EditCall:
    """A picture and how to change it, checked."""

    image: Picture
    prompt: str  # describes the edited picture
    negative_prompt: str = ""  # what it must not show
    mask: Image.Image | None = None  # of the image's size, white where the picture may change; for MaskMode.GIVEN
    mask_mode: MaskMode = MaskMode.PREDICTED
    term: str | None = None  # the words to find the mask by; None: the prompt's noun that the picture shows least
    source_term: str | None = None  # what to find the mask by if the picture does not show the term
    context: float | None = None  # how much around a mask the model sees, as a share of it; 0.25 to 8
    images: int = 1  # how many results, 1 to 16
    seed: int = 0
    strength: float | None = None  # above 0 to 1; None, here and below: the model's own
    guidance_scale: float | None = None  # from 1 to 100
    steps: int | None = None  # of the whole noise schedule, 1 to 999
    previews: bool = False  # whether Progress carries pictures


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A model that the service edits with."""

    reference: str  # what a request names it by: "champion", "challenger", "3", "base", or the name of a folder
    name: str  # of the registered model, or of the folder
    version: str | None  # in the registry; None for a folder
    sampling: Mapping[str, Any] = field(default_factory=dict)  # strength, guidance_scale, steps …: what None means in a call


@dataclass(frozen=True, kw_only=True)
class Progress:
    """An edit on its way."""

    step: int  # denoising steps done
    of: int
    previews: tuple[Image.Image, ...] = ()  # one for each result, small; empty unless the call asks for them


@dataclass(frozen=True, kw_only=True)
class Edited:
    """The results of an edit."""

    files: tuple[bytes, ...]  # PNG files, with the settings and the mark of an edited picture in their metadata
    mask: Image.Image | None  # "L", where the picture was allowed to change; None without a mask
    model: ModelVersion
    sampling: Mapping[str, Any]  # the settings that were used, the model's own included
    seconds: float

    def image(self, number: int) -> Image.Image:
        """Return a result, of the size of the call's picture; decoding it takes a while."""
        return Image.open(io.BytesIO(self.files[number])).copy()


@dataclass(frozen=True, kw_only=True)
class FoundMask:
    """Where an edit would take place; each an "L" picture of the call's size, white where it is."""

    found: Image.Image  # where the term or the source term was found in the picture, widened as the edit would
    draft: Image.Image | None  # what a draft of the edit adds to it


class UnknownModelError(InputError):
    """A request names a model that the service does not have."""


class UnavailableError(Exception):
    """A request cannot be answered now, but perhaps later; the message is one line.

    Args:
        message: the reason.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, message: str, retry_after: float = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BusyError(UnavailableError):
    """Too many requests are at work, or too many came from this client."""


class ModelUnavailableError(UnavailableError):
    """The model is not loaded yet, has died, or the service is shutting down."""


class DeadlineExceededError(Exception):
    """A request was not done in time and was given up; the message is one line."""


class EditFailedError(Exception):
    """An edit failed for a reason that is not the request's; the message is one line, the log has more."""
