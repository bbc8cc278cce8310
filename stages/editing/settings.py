"""The settings of an edit: those stored with a model, and the changes that a caller asks for, checked."""

from pathlib import Path
from typing import cast, get_args

from pydantic import ValidationError

from stages.common.text import one_line
from stages.core.errors import InputError, describe_error, shorten
from stages.core.files import read_json
from stages.core.params import Sampling
from stages.core.section import Precision

SETTINGS_FILE = "iedit.json"  # in a model's folder: the sampling settings that a caller may change
MAX_IMAGES = 16  # per picture, because they are made in one batch
MAX_STEPS = 10_000  # denoising steps of all results of a request to the served model
ADDED = {"solver": "ddim", "mask_margin": 0.0, "mask_draft": False}  # how models were sampled before these settings existed


def check_prompt(text: object, name: str = "prompt") -> str:
    """Return a prompt as words with single spaces between them, without control characters.

    Args:
        text: what the caller sent.
        name: what the text is, for messages.

    Raises:
        InputError: the text is not a string, or has no word.
    """
    prompt = one_line(text)
    if not prompt:
        raise InputError(f"{name}: must not be blank")
    return prompt


def check_images(images: int) -> int:
    """Return the number of results, checked.

    Raises:
        InputError: it is below 1 or above MAX_IMAGES.
    """
    if not 1 <= images <= MAX_IMAGES:
        raise InputError(f"number of images = {images}: allowed is 1 to {MAX_IMAGES}")
    return images


def check_steps(rows: int, images: int, steps: int) -> None:
    """Raise InputError if a request of ``rows`` pictures asks for more denoising steps than MAX_STEPS."""
    if rows * images * steps > MAX_STEPS:
        raise InputError(
            f"{rows:,} rows × {images} images × {steps} steps = {rows * images * steps:,}: allowed in one request are"
            f" {MAX_STEPS:,} steps in all"
        )


def adjust_sampling(sampling: Sampling, **changes: float | None) -> Sampling:
    """Return ``sampling`` with those ``changes`` that are not None.

    Raises:
        InputError: a change is out of range, or leaves no denoising step.
    """
    values = sampling.model_dump() | {name: value for name, value in changes.items() if value is not None}
    try:
        return Sampling.model_validate(values)
    except ValidationError as error:
        raise InputError(describe_error(error.errors()[0], values, Sampling)) from error


def read_sampling(folder: Path) -> Sampling:
    """Return the sampling settings stored with the model in ``folder``.

    Raises:
        InputError: the settings are missing, damaged or out of range.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; the folder is not a model that the train stage wrote")
    try:
        values = ADDED | read_json(path)["sampling"]
        return Sampling.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe_error(error.errors()[0], values, Sampling)}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: damaged: has no sampling") from error


def read_precision(folder: Path) -> Precision:
    """Return the precision in which the model in ``folder`` edits: fp32, unless its settings name another.

    Raises:
        InputError: the settings are damaged, or name one that does not exist.
    """
    path, allowed = folder / SETTINGS_FILE, get_args(Precision)
    try:
        found = read_json(path).get("precision", "fp32") if path.is_file() else "fp32"
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged: no JSON object") from error
    if found not in allowed:
        raise InputError(f"{path}: precision = {shorten(found)}: allowed are {', '.join(allowed)}")
    return cast("Precision", found)
