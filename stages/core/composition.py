"""Hydra composes params.yaml from conf/, where conf/config.yaml holds the user's choices.

``dvc exp run -S …`` composes from the same files, so an experiment keeps the preset, the source and the values chosen.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stages.core.choices import CONFIG, OPTIONAL, Choices, flat, shown
from stages.core.errors import InputError, first_line
from stages.core.files import written_aside
from stages.core.params import Params
from stages.core.params_file import ParameterError, read_params
from stages.core.paths import CONF, PARAMS_FILE

MISSING = "(missing)"


def apply_choices(words: Sequence[str]) -> list[str]:
    """Add choices to conf/config.yaml, compose params.yaml from it, and return the changed values as ``key: old → new``.

    Args:
        words: ``preset=paper``, ``train.steps=800`` or, to forget a single value, ``~train.steps``.

    Raises:
        InputError: a choice is refused, or the result is not allowed; nothing is written then.
    """
    choices = Choices.read()
    for word in words:
        choices.choose(word)
    before = _read(PARAMS_FILE) if PARAMS_FILE.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        conf, params = Path(folder) / CONF, Path(folder) / PARAMS_FILE
        shutil.copytree(CONF, conf)
        choices.write(conf / CONFIG.name)
        _compose(conf, params)
        _read_params(params)
        after = _read(params)
        _check_kept(choices, after)
        with written_aside(CONFIG) as new_config, written_aside(PARAMS_FILE) as new_params:
            shutil.copyfile(conf / CONFIG.name, new_config)
            shutil.copyfile(params, new_params)
    return [f"{key}: {shown(old)} → {shown(new)}" for key, old, new in _differences(before, after)]


def check_composed() -> None:
    """Check that params.yaml is what conf/ composes to, before experiments are composed from conf/.

    Raises:
        InputError: it is not, so experiments would run with other values than params.yaml shows.
    """
    choices = Choices.read()
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / PARAMS_FILE
        _compose(CONF, params)
        differences = _differences(_read(PARAMS_FILE), _read(params))
    if differences:
        key, here, composed = differences[0]
        more = f" (and {len(differences) - 1} more differ)" if len(differences) > 1 else ""
        raise InputError(
            f"{PARAMS_FILE}: {key} = {shown(here)}, but {CONF} composes to {shown(composed)}{more}, and so would experiments;"
            f" choose values with iedit configure KEY=VALUE …, or recompose with iedit configure {choices.words()[0]}"
        )


def compose_params(*overrides: str) -> Params:
    """Return the parameters that ``dvc exp run -S OVERRIDE …`` composes.

    Raises:
        InputError: conf/ or an override cannot be read, or the result is not allowed.
    """
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / PARAMS_FILE
        _compose(CONF, params, overrides)
        return _read_params(params)


def _compose(conf: Path, output: Path, overrides: Sequence[str] = ()) -> None:
    """Compose a folder of settings into a file, as ``dvc exp run`` does."""
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        compose_and_dump(output, str(conf.absolute()), None, CONFIG.stem, str(Path.cwd()), list(overrides))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(f"{CONF}: {first_line(error)}") from error


def _read_params(path: Path) -> Params:
    """Read and check composed parameters; the message of an error leaves out the temporary file."""
    try:
        return read_params(path)
    except ParameterError as error:
        raise InputError(str(error).removeprefix(f"{path}: ")) from error


def _check_kept(choices: Choices, composed: Mapping[str, Any]) -> None:
    """Check that an ablation's row, which is composed last, overrides no single value that was chosen."""
    for key, value in choices.values().items():
        if (other := composed.get(key, MISSING)) != value:
            row = f"{OPTIONAL}={choices.files().get(OPTIONAL)}"
            raise InputError(f"{key} = {shown(value)}: {row} makes it {shown(other)}; forget one of them")


def _read(path: Path) -> dict[str, Any]:
    """Return the values of a YAML file by their dotted keys."""
    try:
        values = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: {first_line(error)}") from error
    return flat(values) if isinstance(values, dict) else {}


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (key, value here, value there) of every key whose values differ, in the order of the keys."""
    keys = [*there, *(key for key in here if key not in there)]
    pairs = [(key, here.get(key, MISSING), there.get(key, MISSING)) for key in keys]
    return [pair for pair in pairs if pair[1] != pair[2]]
