"""Where pretrained models lie: in a local folder or a snapshot of the hub, safetensors only.

Nothing is downloaded here, so that a stage needs no network: ``iedit models --fetch`` does that, see
:mod:`stages.models.fetching`. A model's folder is untrusted data; one that asks for its own code to run is refused. Nothing
here needs torch, because a stage with nothing to do asks for identities only; :mod:`stages.models.loading` loads the weights.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from stages.core.errors import InputError, first_line
from stages.core.files import folder_digest
from stages.core.params import ModelName, Params, named_models
from stages.core.section import Precision
from stages.models.layout import PICKLED, needed_files

RUNS_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")  # configuration keys that ask for it
COMMIT = re.compile(r"[0-9a-f]{40}")
FETCH = "iedit models --fetch"


class ModelError(InputError):
    """A model cannot be loaded; the message names it, the parameter that it comes from, and the reason."""

    def __init__(self, model: ModelName, reason: str) -> None:
        super().__init__(f"{model.key}.name = {model.name!r}: {reason}" if model.key else f"{model.name}: {reason}")


def is_local(model: ModelName) -> bool:
    """Return whether a model is a folder of this machine, rather than one of the hub.

    Raises:
        ModelError: it is neither a folder nor a hub id with a revision.
    """
    if Path(model.name).is_dir():
        return True
    if Path(model.name).is_file():
        raise ModelError(model, "is a file; convert it to a folder with a model index, as docs/models.md shows")
    if model.name.count("/") != 1 or model.revision is None:
        raise ModelError(model, "neither a folder nor a hub id (owner/name) with a revision")
    return False


def find(model: ModelName) -> Path | None:
    """Return the folder of a model, or None if it is not on this machine."""
    if Path(model.name).is_dir():
        return Path(model.name)
    try:
        return locate(model)
    except ModelError:
        return None


@cache
def locate(model: ModelName) -> Path:
    """Return the folder of a model: a local one, or the snapshot of the hub that was fetched at the model's commit.

    Raises:
        ModelError: the folder is missing, holds no safetensors, or asks for code to be run; a model of the hub has no commit
            as its revision, or was not fetched.
    """
    folder = Path(model.name) if is_local(model) else _snapshot(model)
    if not any(folder.rglob("*.safetensors")):
        found = [path.name for path in sorted(folder.rglob("*")) if path.suffix in PICKLED]
        reason = f"only pickled weights ({found[0]}), which are never loaded" if found else "no .safetensors file"
        raise ModelError(model, reason)
    for path in sorted(folder.rglob("*.json")):
        _refuse_code(model, path, path.relative_to(folder).as_posix())
    return folder


def _snapshot(model: ModelName) -> Path:
    """Return the folder of a fetched model, in which every file that the loaders read is there."""
    if not COMMIT.fullmatch(str(model.revision)):
        raise ModelError(model, f"revision {model.revision!r} is no commit, so its weights may change; {FETCH} pins one")
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = needed_files(file.path for file in get_cached_repo_tree(model.name, revision=model.revision))
        found = snapshot_download(model.name, revision=model.revision, allow_patterns=files, local_files_only=True)
    except (CachedRepoTreeNotFoundError, OSError, ValueError) as error:
        raise ModelError(model, f"is not on this machine, or not whole; {FETCH} downloads it") from error
    return Path(found)


def _refuse_code(model: ModelName, path: Path, name: str) -> None:
    """Raise ModelError if a configuration has a key that makes libraries run Python files from the folder or the hub."""

    def check(record: dict[str, Any]) -> dict[str, Any]:
        asked = next((key for key in RUNS_CODE if record.get(key)), None)
        if asked is not None:
            raise ModelError(model, f"{name} asks for code to be run ({asked}), which is never allowed")
        return record

    try:
        json.loads(path.read_bytes(), object_hook=check)
    except ModelError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(model, f"{name} is damaged: {first_line(error)}") from error


@cache
def identity(model: ModelName) -> str:
    """Return a name for the exact weights: the commit of a model of the hub, or the digest of a local folder's files.

    Weights that are rounded when they are loaded are others.

    Raises:
        ModelError: the model cannot be located, see :func:`locate`.
    """
    folder = locate(model)
    return in_precision(folder_digest(folder) if is_local(model) else folder.name, model.precision)


def in_precision(name: str, precision: Precision) -> str:
    """Return the name of weights once they are loaded in a precision."""
    return name if precision == "fp32" else f"{name} in {precision}"


def describe_models(params: Params) -> dict[str, dict[str, str | None]]:
    """Return key in params.yaml → name, revision and identity, for every model that params.yaml names."""
    return {model.key: describe_model(model) for model in named_models(params)}


def describe_model(model: ModelName) -> dict[str, str | None]:
    """Return name, revision and identity of a model; one of the hub may be absent, because no stage may load it."""
    known_as = identity(model) if Path(model.name).is_dir() else model.revision
    return {"name": model.name, "revision": model.revision, "identity": known_as}
