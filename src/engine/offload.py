"""Inputs of blocks in host memory: copied there beside the forward pass, and back ahead of the backward pass."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .activations import keep_input


class Offload:
    """Keeps the first argument of blocks in host memory, where their backward pass computes them again from.

    On a GPU a stream of its own copies, to pinned memory, while the block computes. When the backward pass asks for
    the input of a block, that of the block before is fetched, so that it is there in time. On a CPU, where the host
    is the device, it is a copy and of no use.
    """

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._last: weakref.ref[_Parked] | None = None

    def __reduce__(self) -> tuple[type["Offload"], tuple[()]]:
        """A copy of a model has streams of its own."""
        return Offload, ()

    def keep_input(self, function: Callable[..., Any], *args: Any) -> Any:
        """As ``activations.keep_input``, with the first of ``args`` in host memory."""
        first = args[0] if args else None
        if not isinstance(first, Tensor) or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return keep_input(function, *args)

        def pack(tensor: Tensor) -> "Tensor | _Parked":
            return self._park(tensor) if _is_same(tensor, first_seen) else tensor

        # The hooks outlive the call, and must not hold the tensor that they are to let go of.
        first_seen = _Seen(first)
        del first
        with saved_tensors_hooks(pack, _fetched):
            return keep_input(function, *args)

    def _park(self, tensor: Tensor) -> "_Parked":
        parked = _Parked(tensor, self._stream(tensor.device), self._last)
        self._last = weakref.ref(parked)
        return parked

    def _stream(self, device: torch.device) -> "torch.cuda.Stream | None":
        if device.type != "cuda":
            return None
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        return self._streams[device]


class _Seen:
    """A tensor as it can be known again without being held."""

    def __init__(self, tensor: Tensor) -> None:
        self.place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)


def _is_same(tensor: Tensor, seen: _Seen) -> bool:
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) == seen.place


class _Parked:
    """A tensor in host memory.

    Args:
        tensor: Where it is now.
        stream: What copies; ``None`` on a CPU.
        before: What was parked before it, which the backward pass asks for next.
    """

    def __init__(
        self, tensor: Tensor, stream: "torch.cuda.Stream | None", before: "weakref.ref[_Parked] | None"
    ) -> None:
        self._device = tensor.device
        self._stream = stream
        self._before = before
        self._fetched: Tensor | None = None
        self._host = torch.empty_like(tensor, device="cpu", pin_memory=stream is not None)
        if stream is None:
            self._host.copy_(tensor)
            return
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._host.copy_(tensor, non_blocking=True)
        tensor.record_stream(stream)  # its memory is not given to another before it is copied

    def fetch(self) -> None:
        """Begin to copy it back."""
        if self._fetched is not None:
            return
        if self._stream is None:
            self._fetched = self._host
            return
        with torch.cuda.stream(self._stream):  # which has copied it to the host before
            self._fetched = self._host.to(self._device, non_blocking=True)

    def take(self) -> Tensor:
        """The tensor on its device; what was parked before it is on its way."""
        self.fetch()
        tensor, self._fetched = self._fetched, None
        assert tensor is not None
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            tensor.record_stream(current)
        before = None if self._before is None else self._before()
        if before is not None:
            before.fetch()
        return tensor


def _fetched(kept: "Tensor | _Parked") -> Tensor:
    return kept.take() if isinstance(kept, _Parked) else kept
