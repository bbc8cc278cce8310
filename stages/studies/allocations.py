"""The memory that a piece of work takes on tensors without numbers: what a GPU would allocate, computed without one."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary
from transformers.initialization import no_init_weights

IN_FP32 = (nn.GroupNorm, nn.LayerNorm)
"""What autocast computes in fp32 on a GPU, and in half precision on a processor."""


@contextmanager
def without_numbers() -> Iterator[None]:
    """Make networks of tensors with shapes alone in the block; what meets these later has no numbers either."""
    with FakeTensorMode(allow_non_fake_inputs=True), no_init_weights():  # some libraries would read what they initialise
        yield


def peak_of(work: Callable[[], object], *held: nn.Module | Tensor | None) -> int:
    """Return the most bytes that tensors take while ``work`` runs, those of ``held``, which were there before, among them."""
    allocations = _Allocations()
    for each in held:
        if isinstance(each, nn.Module):
            for tensor in (*each.parameters(), *each.buffers()):
                allocations.add(tensor)
        elif each is not None:
            allocations.add(each)
    hook = register_module_forward_pre_hook(_as_autocast_of_gpus)  # type: ignore[arg-type] # it may return other inputs
    try:
        with allocations:
            work()
    finally:
        hook.remove()
    return allocations.peak


class _Allocations(TorchDispatchMode):
    """Follows the storages of all tensors that operations return while it is on; views of one storage count once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0  # bytes
        self._known = WeakIdKeyDictionary()

    def add(self, tensor: Tensor) -> None:
        """Count a tensor until its storage is freed."""
        storage = tensor.untyped_storage()
        if storage not in self._known:
            size = storage.nbytes()
            self._known[storage] = size
            weakref.finalize(storage, self._free, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        returned = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.add, returned)
        return returned


def _as_autocast_of_gpus(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Widen what a network under autocast passes to IN_FP32; a hook, since those hold where checkpointing recomputes too."""
    if isinstance(module, IN_FP32) and torch.is_autocast_enabled("cpu"):
        return (inputs[0].float(), *inputs[1:])
    return inputs
