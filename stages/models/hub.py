"""Where pretrained models come from: a local folder or a snapshot of the hub, safetensors only.

A model's folder is untrusted data; one that asks for its own code to run is refused. Nothing here needs torch, because a stage
with nothing to do asks for identities only; :mod:`stages.models.loading` loads the weights.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from stages.core.errors import InputError, first_line
from stages.core.files import folder_digest
from stages.core.params import ModelName, Params, named_models

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
RUNS_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")  # configuration keys that ask for it


class ModelError(InputError):
    """A model cannot be loaded; the message names it, the parameter that it comes from, and the reason."""

    def __init__(self, model: ModelName, reason: str) -> None:
        super().__init__(f"{model.key}.name = {model.name!r}: {reason}" if model.key else f"{model.name}: {reason}")


@cache
def locate(model: ModelName) -> Path:
    """Return the folder of a model: a local one, or a snapshot of the hub at the model's revision.

    Raises:
        ModelError: the folder is missing, holds no safetensors, or asks for code to be run.
    """
    folder = Path(model.name)
    if not folder.is_dir():
        if model.name.count("/") != 1 or model.revision is None:
            raise ModelError(model, "neither a folder nor a hub id (owner/name) with a revision")
        from huggingface_hub import snapshot_download

        patterns = ["*.safetensors", "*.json", "*.txt"]
        try:
            folder = Path(snapshot_download(model.name, revision=model.revision, allow_patterns=patterns))
        except (OSError, ValueError) as error:
            raise ModelError(model, f"no such folder, and the hub did not deliver it: {first_line(error)}") from error
    if not any(folder.rglob("*.safetensors")):
        found = [path.name for path in sorted(folder.rglob("*")) if path.suffix in PICKLED]
        reason = f"only pickled weights ({found[0]}), which are never loaded" if found else "no .safetensors file"
        raise ModelError(model, reason)
    for path in sorted(folder.rglob("*.json")):
        _refuse_code(model, path, path.relative_to(folder).as_posix())
    return folder


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
    """Return a name for the exact weights: the commit of the hub's snapshot, or the digest of a local folder's files.

    Raises:
        ModelError: the folder is missing, holds no safetensors, or asks for code to be run.
    """
    folder = locate(model)
    return folder_digest(folder) if Path(model.name).is_dir() else folder.name


def known_identity(model: ModelName) -> str:
    """Return :func:`identity` without downloading: for a model of the hub that is not on this machine, its revision."""
    if Path(model.name).is_dir():
        return identity(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.name, revision=model.revision, local_files_only=True)).name
    except (OSError, ValueError):
        return str(model.revision)


def describe_models(params: Params) -> dict[str, dict[str, str | None]]:
    """Return key in params.yaml → name, revision and identity, for every model that params.yaml names."""
    return {
        model.key: {"name": model.name, "revision": model.revision, "identity": known_identity(model)}
        for model in named_models(params)
    }
