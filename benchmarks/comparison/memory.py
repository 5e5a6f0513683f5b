"""Memory of training, counted in bytes rather than sampled."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from inarch_benchmarks.comparison.record import Memory


class StepMemory:
    """Counts the bytes of one training step, and keeps the device's own peak over all of them.

    Counted are the parameters and buffers of the model with its adapter, the gradients, the optimizer's state, and
    what autograd saves for the backward pass, each storage once and parameters and buffers not among it. A step of
    several accumulated parts counts the largest part.

    Args:
        counted: By an earlier part of the run, with the device's peak in it.
    """

    def __init__(self, counted: Memory | None = None) -> None:
        self._counted = counted
        self._device_peak = counted.device_peak if counted else None

    @contextmanager
    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """One training step, from the forward pass to the optimizer's."""
        on_gpu = next(model.parameters()).is_cuda
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        if self._counted is None:
            yield from self._count(model, optimizer)
        else:
            yield
        if on_gpu:
            self._device_peak = max(self._device_peak or 0, torch.cuda.max_memory_allocated())

    def _count(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        own = {storage.data_ptr() for storage in _storages(_tensors_of(model))}
        saved = _Saved(own)
        with saved_tensors_hooks(saved.pack, saved.unpack):
            yield
        states = (value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor))
        self._counted = Memory(
            weights=_bytes(_tensors_of(model)),
            gradients=_bytes(p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None),
            optimizer=_bytes(states),
            activations=saved.most,
        )

    def result(self) -> Memory | None:
        """What was counted; None before the first step."""
        if self._counted is None:
            return None
        return self._counted.model_copy(update={"device_peak": self._device_peak})


class _Saved:
    """The storages that autograd holds, and the most bytes of them at any moment."""

    def __init__(self, ignored: set[int]) -> None:
        self.most = 0
        self._ignored = ignored
        self._held: dict[int, int] = {}
        self._bytes = 0

    def pack(self, tensor: Tensor) -> "_Held":
        return _Held(tensor, self)

    def unpack(self, held: "_Held") -> Tensor:
        return held.tensor

    def take(self, tensor: Tensor) -> int:
        pointer = tensor.untyped_storage().data_ptr()
        if pointer in self._ignored:
            return 0
        self._held[pointer] = self._held.get(pointer, 0) + 1
        if self._held[pointer] == 1:
            self._bytes += tensor.untyped_storage().nbytes()
            self.most = max(self.most, self._bytes)
        return pointer

    def drop(self, pointer: int, size: int) -> None:
        if pointer == 0:
            return
        self._held[pointer] -= 1
        if self._held[pointer] == 0:
            del self._held[pointer]
            self._bytes -= size


class _Held:
    """One saved tensor, counted for as long as autograd keeps it."""

    def __init__(self, tensor: Tensor, among: _Saved) -> None:
        self.tensor = tensor
        self._among = among
        self._pointer = among.take(tensor)
        self._size = tensor.untyped_storage().nbytes()

    def __del__(self) -> None:
        self._among.drop(self._pointer, self._size)


def _tensors_of(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _storages(tensors: Iterable[Tensor]) -> list[torch.UntypedStorage]:
    return list({tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}.values())


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(storage.nbytes() for storage in _storages(tensors))
