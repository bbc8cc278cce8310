"""Where pretrained models come from: a local folder or a snapshot of the hub, safetensors only.

A model's folder is untrusted data. The module of the family, not the folder, names the class that loads each part. A folder
that asks for its own code to run is refused, and so are weights that leave a part of the model uninitialised.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from stages.core.errors import InputError, first_line
from stages.core.files import folder_digest
from stages.core.params import ModelName, Params, named_models
from stages.models.tensors import device

WEIGHTS: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
RUNS_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")  # configuration keys that ask for it
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""What the libraries raise if a file of the folder is missing, truncated, damaged, or belongs to another model."""


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


@contextmanager
def loading(model: ModelName, *files: str) -> Iterator[Path]:
    """Yield the folder of a model, and turn the libraries' errors into one line that names the model.

    Args:
        model: the model to load.
        files: those that must exist, because the libraries would silently use defaults without them.

    Raises:
        ModelError: the folder is missing, incomplete or damaged.
    """
    folder = locate(model)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ModelError(model, f"incomplete: no {missing[0]}")
    try:
        yield folder
    except (ModelError, torch.OutOfMemoryError):
        raise
    except DAMAGE as error:
        raise ModelError(model, f"incomplete or damaged: {type(error).__name__}: {first_line(error)}") from error


def complete(loaded: tuple[Any, dict[str, Any]]) -> Any:
    """Return a model that was loaded with ``output_loading_info``, after checking that no weight is left random.

    Raises:
        ValueError: the file lacks weights, which the libraries only warn about.
    """
    network, info = loaded
    if info["missing_keys"]:
        raise ValueError(f"no weights for {min(info['missing_keys'])}")
    return network


def check_vocabulary(tokenizer: Any, vocabulary: int) -> None:
    """Raise ValueError if a tokenizer lacks its vocabulary; without the file, the libraries make a tokenizer of two words."""
    if len(tokenizer) < 0.9 * vocabulary:  # a model may have a few rows that no word uses
        raise ValueError(f"a tokenizer of {len(tokenizer)} words for a model of {vocabulary}: their file is missing")


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


def frozen(module: Any) -> Any:
    """Return a network on the device, in evaluation mode, without gradients for its weights."""
    return module.to(device()).requires_grad_(False).eval()
