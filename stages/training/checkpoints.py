"""Training state as safetensors: weights, AdamW moments and the number of the step, in one file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.core.errors import InputError, first_line
from stages.core.files import written_aside

Modules = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


def save_state(path: Path, modules: Modules, optimizers: Optimizers, step: int) -> None:
    """Write the state of a training after ``step`` steps to ``path``, whole or not at all.

    Random numbers need no state: every draw of step k is seeded by k.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"modules/{name}/{key}": value.detach() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizers/{name}/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    tensors = {key: value.clone().contiguous() for key, value in tensors.items()}
    with written_aside(path) as temporary:
        save_file(tensors, temporary, metadata={"step": str(step)})


def read_step(path: Path) -> int:
    """Return after how many steps :func:`save_state` wrote ``path``.

    Raises:
        InputError: the file is damaged.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        return int((file.metadata() or {})["step"])


def load_state(path: Path, modules: Modules, optimizers: Optimizers) -> int:
    """Restore what :func:`save_state` wrote, in place, and return the number of steps done.

    Raises:
        InputError: the file is damaged, or of other modules; they may have been changed in part.
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
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(prefix):
                    index, field = key.removeprefix(prefix).split("/")
                    state.setdefault(int(index), {})[field] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return read_step(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell in one line that the file that is read within the block is not what :func:`save_state` writes."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, LookupError, ValueError, RuntimeError) as error:  # the last: of other modules
        reason = f"damaged: {type(error).__name__}: {first_line(error)}"
        raise InputError(f"{path}: {reason}; remove it, and the training goes on from what is left") from error
