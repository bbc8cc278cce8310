"""Hydra composes params.yaml from conf/, where conf/config.yaml holds the user's choices.

``dvc exp run -S …`` composes from the same files, so an experiment keeps the preset, the source and the values chosen.
"""

import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stages.core.choices import CONFIG, NAME, OPTIONAL, Choices, flat, in_quotes, shown
from stages.core.errors import InputError, cut, first_line
from stages.core.files import written_aside
from stages.core.params import Params
from stages.core.params_file import ParameterError, read_params
from stages.core.paths import CONF, PARAMS_FILE
from stages.core.run import alone
from stages.core.yaml_file import read_yaml

MISSING = "(missing)"


def apply_choices(words: Sequence[str]) -> list[str]:
    """Add choices to conf/config.yaml, compose params.yaml from it, and return the changed values as ``key: old → new``.

    No stage runs meanwhile: this waits for one that does.

    Args:
        words: ``preset=paper``, ``train.steps=800`` or, to forget a single value, ``~train.steps``. Files of groups are
            chosen first, then names of models, whatever the order, because what belongs to the last ones is forgotten.

    Raises:
        InputError: a choice is refused, or the result is not allowed; nothing is written then.
    """
    Choices.read()  # before anything is made in a folder that is no project
    with alone("iedit configure"):
        return _apply(words)


def _apply(words: Sequence[str]) -> list[str]:
    choices = Choices.read()
    chosen = choices.values()
    keys = {word: word.partition("=")[0] for word in words}
    for word in sorted(words, key=lambda word: (keys[word] not in choices.files(), not keys[word].endswith(NAME))):
        choices.choose(word)
    before = _read(PARAMS_FILE)
    with tempfile.TemporaryDirectory() as folder:
        conf, params = Path(folder) / CONF, Path(folder) / PARAMS_FILE
        shutil.copytree(CONF, conf)
        choices.write(conf / CONFIG.name)
        _compose(conf, params)
        _check(params, words, chosen)
        after = _read(params)
        _check_kept(choices, after)
        with written_aside(CONFIG) as new_config, written_aside(PARAMS_FILE) as new_params:
            shutil.copyfile(conf / CONFIG.name, new_config)
            shutil.copyfile(params, new_params)
    return [f"{key}: {shown(old)} → {shown(new)}" for key, old, new in _differences(before, after)]


def _check(composed: Path, words: Sequence[str], chosen: Mapping[str, Any]) -> None:
    """Check composed parameters.

    Args:
        composed: the file.
        words: the choices that are made now.
        chosen: those made before, by their keys.

    Raises:
        InputError: the parameters are not allowed; the line ends with what helps.
    """
    try:
        _read_params(composed)
    except InputError as error:
        raise InputError(f"{error}{_hint(str(error), words, chosen)}") from error


def _hint(message: str, words: Sequence[str], chosen: Mapping[str, Any]) -> str:
    """Return what helps if a word has to be a text, or if there is no such key any more as one that was chosen before."""
    key, _, reason = message.partition(" = ")
    refused = [word for word in words if word.partition("=")[0] == key]
    if refused and reason.endswith(": must be text"):
        return f"; in quotes within quotes it is one: {in_quotes(refused[-1])}"
    was_chosen = any(f"{each}.".startswith(f"{key}.") for each in chosen)  # the key, or others in a section of that name
    if not refused and was_chosen and ": no such key; " in reason:
        return f"; it was chosen before, and is forgotten by {shlex.join(['iedit', 'configure', *words, f'~{key}'])}"
    return ""


def check_composed() -> None:
    """Check that params.yaml is what conf/ composes to, before experiments are composed from conf/.

    Raises:
        InputError: it is not, so experiments would run with other values than params.yaml shows.
    """
    choices = Choices.read()
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / PARAMS_FILE
        _compose(CONF, params)
        if differences := _differences(_read(PARAMS_FILE), _read(params)):
            _check(params, [], choices.values())
    if differences:
        key, here, composed = differences[0]
        others = len(differences) - 1
        more = f" (and {others} {'other differs' if others == 1 else 'others differ'})" if others else ""
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
    _check_files(conf)
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        compose_and_dump(output, str(conf.absolute()), None, CONFIG.stem, str(Path.cwd()), list(overrides))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(f"{CONF}: {first_line(' '.join(str(error).split()))}") from error


def _check_files(conf: Path) -> None:
    """Check that Hydra reads every file as ``iedit`` and DVC do: it reads YAML 1.1, they read YAML 1.2."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for path in sorted(conf.rglob("*.yaml")):
        name = CONF / path.relative_to(conf)
        try:
            by_dvc = read_yaml(path)
            by_hydra = OmegaConf.to_container(OmegaConf.load(path))
        except InputError as error:
            raise InputError(str(error).replace(str(path), str(name))) from error
        except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            raise InputError(f"{name}: {' '.join(str(error).split()).replace(str(path), str(name))}") from error
        for key, hydra, dvc in _differences(_as_text(by_hydra), _as_text(by_dvc)):
            read = f"{cut(hydra)} to Hydra and {cut(dvc)} to DVC"
            raise InputError(f"{name}: {key} is {read}; write a plain number, or a text in quotes")


def _as_text(values: Any) -> dict[str, str]:
    """Return every value as Python writes it, by its dotted key, so that 1 and true differ and two of .nan do not."""
    return {key: repr(value) for key, value in flat(values).items()} if isinstance(values, dict) else {}


def _read_params(path: Path) -> Params:
    """Read and check composed parameters; the message of an error leaves out the temporary file."""
    try:
        return read_params(path)
    except ParameterError as error:
        raise InputError(str(error).removeprefix(f"{path}: ")) from error


def _check_kept(choices: Choices, composed: Mapping[str, Any]) -> None:
    """Check that each chosen value is composed as it is: an ablation's row is composed last, and YAML may read a text anew."""
    row = choices.files().get(OPTIONAL)
    for key, value in choices.values().items():
        if (other := composed.get(key, MISSING)) != value:
            why = f"{OPTIONAL}={row} makes it {shown(other)}; forget one of them"
            if row is None:
                why = f"would become {shown(other)}; choose the value itself"
            raise InputError(f"{key} = {shown(value)}: {why}")


def _read(path: Path) -> dict[str, Any]:
    """Return the values of a YAML file by their dotted keys; none if there is no such file."""
    values = read_yaml(path) if path.is_file() else None
    return flat(values) if isinstance(values, dict) else {}


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (key, value here, value there) of every key whose values differ, in the order of the keys."""
    keys = [*there, *(key for key in here if key not in there)]
    pairs = [(key, here.get(key, MISSING), there.get(key, MISSING)) for key in keys]
    return [pair for pair in pairs if pair[1] != pair[2]]
