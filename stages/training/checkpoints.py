"""Training state in one safetensors file: weights, AdamW moments and the number of steps done."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.core.errors import InputError, first_line
from stages.core.files import written_aside

Modules = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]
UNSCALED = torch.amp.GradScaler("cpu", enabled=False)  # scales no loss and has no state


def save_state(
    path: Path, modules: Modules, optimizers: Optimizers, step: int, scaler: torch.amp.GradScaler = UNSCALED
) -> None:
    """Write the state of a training to ``path``, whole or not at all.

    Random numbers need no state, because every draw of step k is seeded by k.

    Args:
        path: the file.
        modules: the modules to save, by name.
        optimizers: the optimisers to save, by name.
        scaler: what scales the loss.
        step: the number of steps done.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"modules/{name}/{key}": value.detach() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizers/{name}/{index}/{key}": torch.as_tensor(value) for key, value in _values(state)}
    tensors |= {f"scaler/{key}": torch.as_tensor(value) for key, value in scaler.state_dict().items()}
    with written_aside(path) as temporary:
        save_file(_on_host(tensors), temporary, metadata={"step": str(step)})


def read_step(path: Path) -> int:
    """Return the number of steps done when :func:`save_state` wrote ``path``.

    Raises:
        InputError: the file is damaged.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        return int((file.metadata() or {})["step"])


def load_state(path: Path, modules: Modules, optimizers: Optimizers, scaler: torch.amp.GradScaler = UNSCALED) -> int:
    """Load a file of :func:`save_state` into what it was made of, in place, and return the number of steps done.

    Raises:
        InputError: the file is damaged or belongs to other modules, some of which may have been changed.
    """
    with _reading(path):
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        for name, module in modules.items():
            prefix = f"modules/{name}/"
            part = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            module.load_state_dict(part)
        for name, optimizer in optimizers.items():
            prefix = f"optimizers/{name}/"
            state: dict[int, dict[str, Any]] = {}
            for key, value in tensors.items():
                if key.startswith(prefix):
                    index, field = key.removeprefix(prefix).split("/")
                    state.setdefault(int(index), {})[field] = _as_it_was(value)
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        prefix = "scaler/"
        scaler.load_state_dict({key.removeprefix(prefix): tensors[key].item() for key in tensors if key.startswith(prefix)})
    return read_step(path)


def _on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors on the CPU; those that share memory, which safetensors refuses, are copied, and no others."""
    moved: dict[str, Tensor] = {}
    places: set[int] = set()
    for key, value in tensors.items():
        tensor = value.to("cpu").contiguous()
        place = tensor.untyped_storage().data_ptr()
        moved[key] = tensor.clone() if place in places else tensor
        places.add(place)
    return moved


def _values(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what an optimiser keeps of a weight; bitsandbytes has moments of 8 bits in a dictionary of their own."""
    for key, value in state.items():
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield key, value


def _as_it_was(value: Tensor) -> Tensor | float:
    """Return a value of an optimiser's state; bitsandbytes counts steps in an integer of Python, torch in a tensor."""
    return value.item() if value.dtype == torch.int64 else value


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Report errors of the block in one line: the file is not one that :func:`save_state` wrote."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, LookupError, ValueError, RuntimeError) as error:  # RuntimeError: the file belongs to other modules
        reason = f"damaged: {type(error).__name__}: {first_line(error)}"
        raise InputError(f"{path}: {reason}; remove it to resume from the checkpoint before it") from error
