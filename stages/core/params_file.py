"""Reading params.yaml, with one clear line for whatever is wrong in it."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stages.core.errors import describe_error, shorten
from stages.core.params import Params
from stages.core.paths import PARAMS_FILE


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
        values = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date or number
        raise ParameterError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ParameterError(f"{path}: must hold the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ParameterError(f"{path}: {describe_error(error.errors()[0], values, Params)}{more}") from error


class _Loader(yaml.SafeLoader):
    """YAML that rejects a key given twice in one mapping, as its standard does; PyYAML alone takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[object]()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {shorten(name)} is given twice")
            seen.add(name)
        return super().construct_mapping(node, deep)
