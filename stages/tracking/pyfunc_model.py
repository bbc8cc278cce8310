"""The editor as an MLflow model. MLflow copies this file into the logged model and executes it to load the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from PIL import Image

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.params import ModelName
from stages.editing.editor import Editor
from stages.editing.pictures import decode_picture, encode_picture
from stages.editing.request import EditRequest, MaskMode
from stages.editing.settings import adjust_sampling, check_images, check_prompt, read_sampling


class RequestError(MlflowException):
    """A request is invalid. The message stays one line; MLflow's server would put the whole request before it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

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
        self._editor = Editor.load(ModelName(name=context.artifacts["model"]), ModelName(name=context.artifacts["segmenter"]))
        self._sampling = read_sampling(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row for each edited picture: a PNG in base64, the row of its request, its number among the results.

        Raises:
            RequestError: a request is invalid; a served model answers with status 400 and this message.
        """
        del context  # load_context has read it
        try:
            return self._edit(model_input, params or {})
        except InputError as error:
            raise RequestError(str(error)) from error

    def _edit(self, table: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
        sampling = adjust_sampling(
            self._sampling,
            strength=params.get("strength"),
            guidance_scale=params.get("guidance_scale"),
            steps=params.get("num_inference_steps"),
        )
        mode = _mask_mode(params.get("mask_mode", MaskMode.PREDICTED.value))
        images, seed = check_images(params.get("num_images", 1)), params.get("seed", 0)
        requests = [_request(row, number, mode) for number, row in enumerate(table.to_dict("records"))]
        edits = [
            {"image": encode_picture(edit), "row": row, "number": number}
            for row, request in enumerate(requests)
            for number, edit in enumerate(
                self._edit_row(row, request, mask_mode=mode, images=images, seed=seed, sampling=sampling)
            )
        ]
        return pd.DataFrame(edits, columns=["image", "row", "number"])

    def _edit_row(self, row: int, request: EditRequest, **how: Any) -> list[Image.Image]:
        try:
            return self._editor.edit(request, **how)
        except InputError as error:
            raise InputError(f"row {row}: {error}") from error


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
        image=decode_picture(image, f"row {number}: image").convert("RGB"),
        prompt=check_prompt(text("prompt"), f"row {number}: prompt"),
        mask=None if mask is None else decode_picture(mask, f"row {number}: mask").convert("L"),
        term=one_line(text("term")) or None,
        source_term=one_line(text("source_term")) or None,
    )


mlflow.models.set_model(EditorModel())
