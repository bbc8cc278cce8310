"""The editor as an MLflow model. MLflow copies this file into the logged model and executes it to load the model."""

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_EXHAUSTED
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.editing.editor import Editor
from stages.editing.job import EditJob
from stages.editing.metadata import describe
from stages.editing.pictures import MAX_PIXELS, count_pixels, decode_mask, decode_picture, encode_picture
from stages.editing.request import EditRequest, MaskMode, NothingToMaskError
from stages.editing.settings import MAX_STEPS, adjust_sampling, check_images, check_prompt, check_steps, read_sampling
from stages.tracking.deadline import deadline
from stages.tracking.in_flight import InFlight, TooMuchError

MAX_REQUEST_PIXELS = 4 * MAX_PIXELS  # of all results and masks of the requests in hand
HELP = "source_term names what stands there now, mask with mask_mode 'given' says where, mask_mode 'none' edits everywhere"


class RequestError(MlflowException):
    """A request cannot be answered. The message stays one line; MLflow's server would put the whole request before it."""

    def __init__(self, message: str, error_code: int = INVALID_PARAMETER_VALUE) -> None:
        super().__init__(message, error_code=error_code)

    @property
    def message(self) -> str:
        """The reason, in one line."""
        return str(self.args[0])

    @message.setter
    def message(self, _: str) -> None:
        """Ignore the change that MLflow's server makes."""


class EditorModel(PythonModel):
    """Edits pictures; each row of the input is one request."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the diffusion model and the segmenter from the logged artifacts."""
        self._in_flight = InFlight({"steps": MAX_STEPS, "pixels": MAX_REQUEST_PIXELS})
        model, segmenter = (Path(context.artifacts[name]) for name in ("model", "segmenter"))
        self.editor, self.sampling = Editor.load_trained(model, segmenter), read_sampling(model)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row for each edited picture: a PNG in base64, the row of its request, its number among the results.

        Raises:
            RequestError: a request is invalid; a served model answers with status 400 and this message; 429 when there is no
                room for it beside the requests in hand. After any other error it answers with status 500 and one line, and
                the server's log has the traceback.
        """
        del context  # load_context has read it
        try:
            return self._edit(model_input, {name: value for name, value in (params or {}).items() if value is not None})
        except InputError as error:
            raise RequestError(str(error)) from error
        except TooMuchError as error:
            raise RequestError(str(error), RESOURCE_EXHAUSTED) from error
        except Exception as error:  # MLflow would answer with the traceback and its paths
            logging.getLogger(__name__).exception("an edit failed")
            raise RequestError(f"the edit failed: {type(error).__name__}; see the log", INTERNAL_ERROR) from error

    def _edit(self, table: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
        sampling = adjust_sampling(
            self.sampling,
            strength=params.get("strength"),
            guidance_scale=params.get("guidance_scale"),
            steps=params.get("num_inference_steps"),
        )
        mode = _mask_mode(params.get("mask_mode", MaskMode.PREDICTED.value))
        images, seed = check_images(params.get("num_images", 1)), params.get("seed", 0)
        check_steps(len(table), images, sampling.steps)
        check = deadline()
        edits = []
        with self._in_flight.hold({"steps": len(table) * images * sampling.steps, "pixels": _count_pixels(table, images)}):
            for row, request in enumerate(_requests(table, mode)):
                job = EditJob(request=request, mask_mode=mode, sampling=sampling, images=images, seed=seed)
                results = self._edit_row(row, job, check)
                edits += [{"image": image, "row": row, "number": number} for number, image in enumerate(results)]
        return pd.DataFrame(edits, columns=["image", "row", "number"])

    def _edit_row(self, row: int, job: EditJob, check: Callable[[], None]) -> list[str]:
        """Return the results of a row, PNGs in base64."""
        try:
            (result,) = self.editor.edit_many([self.editor.plan(job)], lambda _: check())
        except NothingToMaskError as error:
            raise InputError(f"row {row}: {error}: {HELP}") from error
        except InputError as error:
            raise InputError(f"row {row}: {error}") from error
        return [encode_picture(image, describe(job, number, None)) for number, image in enumerate(result.images)]


def _count_pixels(table: pd.DataFrame, images: int) -> int:
    """Return the pixels of all results of a request, and of its masks, as the headers of its pictures say.

    Raises:
        InputError: there are more than MAX_REQUEST_PIXELS.
    """
    pixels = 0
    for number, row in enumerate(table.to_dict("records")):
        for name, times in (("image", images), ("mask", 1)):
            if isinstance(row.get(name), str):
                pixels += times * count_pixels(row[name])
        if pixels > MAX_REQUEST_PIXELS:
            raise InputError(f"row {number}: the results up to here have more than {MAX_REQUEST_PIXELS:,} pixels: send fewer")
    return pixels


def _requests(table: pd.DataFrame, mode: MaskMode) -> list[EditRequest]:
    """Return the requests of all rows, so that a mistake in the last is found before the first is edited."""
    return [_request(row, number, mode) for number, row in enumerate(table.to_dict("records"))]


def _mask_mode(name: str) -> MaskMode:
    try:
        return MaskMode(name)
    except ValueError as error:
        raise InputError(f"mask_mode = {name!r}: allowed are {', '.join(MaskMode)}") from error


def _request(row: Mapping[Any, Any], number: int, mode: MaskMode) -> EditRequest:
    def text(name: str) -> str | None:
        value = row.get(name)
        if isinstance(value, str):
            return value or None
        if value is None or value != value:  # noqa: PLR0124 - a missing cell is None or NaN
            return None
        raise InputError(f"row {number}: {name}: must be text, is {type(value).__name__}")

    image, mask = text("image"), text("mask")
    if image is None:
        raise InputError(f"row {number}: image must not be empty")
    if (mask is not None) != (mode is MaskMode.GIVEN):
        given = "a mask is given" if mask is not None else "no mask is given"
        raise InputError(f"row {number}: {given}, but mask_mode is '{mode}'")
    return EditRequest(
        image=decode_picture(image, f"row {number}: image"),
        prompt=check_prompt(text("prompt"), f"row {number}: prompt"),
        negative_prompt=one_line(text("negative_prompt")),
        mask=None if mask is None else decode_mask(mask, f"row {number}: mask"),
        term=one_line(text("term")) or None,
        source_term=one_line(text("source_term")) or None,
    )


def _refuse_other_code(code: Path) -> None:
    """Raise MlflowException if the process has loaded other code than the one that was registered with this model.

    A process has one package ``stages``. The model that is loaded first brings its own, and a second version would run on
    the first one's code.

    Args:
        code: the package that was registered with the model; it is missing where this file is not in a model.
    """
    loaded = {name: Path(str(each.__file__)) for name, each in sys.modules.items() if getattr(each, "__file__", None)}
    for name, path in loaded.items():
        package, *parts = name.split(".")
        if package != code.name or not code.is_dir():
            continue
        kept = code.joinpath(*parts, "__init__.py") if path.name == "__init__.py" else code.joinpath(*parts).with_suffix(".py")
        if not (kept.is_file() and path.is_file() and kept.read_bytes() == path.read_bytes()):
            raise MlflowException(f"{path} is loaded, which is not this model's own code: load the model in another process")


_refuse_other_code(Path(__file__).parent / "code" / "stages")
mlflow.models.set_model(EditorModel())
