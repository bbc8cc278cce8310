"""How pretrained models are loaded: from safetensors only, whole, frozen, and with errors in one line.

The module of the family, not the model's folder, names the class that loads each part. Weights that leave a part of the model
uninitialised are refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from stages.core.errors import first_line
from stages.core.params import ModelName
from stages.core.section import Precision
from stages.models.hub import ModelError, locate
from stages.models.tensors import device

TYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WEIGHTS: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
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


def weights_in(folder: Path, name: str) -> dict[str, Any]:
    """Return how to load the weights of a part of a diffusers checkpoint: those in half precision where there are no others.

    Args:
        folder: the folder of the part.
        name: how the name of the file of weights begins, before any suffix.
    """
    is_half = any(folder.glob(f"{name}*.fp16*")) and not any(
        (folder / f"{name}.safetensors{ending}").is_file() for ending in ("", ".index.json")
    )
    return {**WEIGHTS, "variant": "fp16" if is_half else None}


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


def frozen(module: Any, precision: Precision = "fp32") -> Any:
    """Return a network on the device in a precision, in evaluation mode, without gradients for its weights."""
    # Not diffusers' own method, which warns of parts to keep in fp32 where there are none.
    placed = nn.Module.to(module, device(), TYPES[precision])
    return placed.requires_grad_(False).eval()
