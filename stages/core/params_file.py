"""Reading params.yaml, with one clear line for whatever is wrong in it."""

from pathlib import Path

from pydantic import ValidationError

from stages.core.errors import InputError, describe_error
from stages.core.params import Params
from stages.core.paths import PARAMS_FILE
from stages.core.yaml_file import read_yaml


class ParameterError(ValueError):
    """A parameter is missing, unknown or out of range; the message names it, its value and what is allowed."""


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Return the validated parameters.

    Raises:
        ParameterError: the file is missing, is not YAML, or a parameter is invalid; the line names the first such key.
    """
    if not path.is_file():
        raise ParameterError(f"{path}: no such file; run from the folder of the project")
    try:
        values = read_yaml(path)
    except InputError as error:
        raise ParameterError(str(error)) from error
    if not isinstance(values, dict):
        raise ParameterError(f"{path}: must hold the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ParameterError(f"{path}: {describe_error(error.errors()[0], values, Params)}{more}") from error
