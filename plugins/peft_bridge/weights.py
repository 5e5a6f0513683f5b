"""The base weights that an injection writes to: kept, so that they can be given back to the bit.

Some initialisations take a part of the base weight over (PiSSA, OLoRA) and write the rest back, in place or by a new
``data``. Which ones do is not asked: PyTorch tells of every write before it happens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(eq=False)
class Rewritten:
    """A parameter or buffer whose values were changed.

    Attributes:
        tensor: The parameter or buffer.
        before: Its data before.
        after: Its data since.
    """

    tensor: Tensor
    before: Tensor
    after: Tensor

    def show(self, after: bool) -> None:
        """Give the tensor its data of after, or of before, where the model has been moved to in the meantime."""
        data = self.after if after else self.before
        if data.device != self.tensor.device or data.dtype != self.tensor.dtype:
            data = data.to(self.tensor.device, self.tensor.dtype)
        self.tensor.data = data


class Keeping(TorchDispatchMode):
    """A ``with`` block in which the base tensors' values are kept before they are first written to."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._tensors = [(tensor, tensor.data) for tensor in tensors if not tensor.is_meta]
        self._holders: dict[int, list[Tensor]] = {}
        for tensor, _ in self._tensors:
            self._holders.setdefault(_place(tensor), []).append(tensor)
        self._kept: dict[int, Tensor] = {}
        self.rewritten: list[Rewritten] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Keep a copy of what an operation is about to write to, then do it."""
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for place, argument in enumerate(func._schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._keep(args[place] if place < len(args) else kwargs.get(argument.name))
        return func(*args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Note what has been written to; what was written in place goes to storage of its own."""
        super().__exit__(kind, error, trace)
        for tensor, before in self._tensors:
            kept = self._kept.get(id(tensor))
            replaced = not _same_place(tensor, before)
            if kept is None and not replaced:
                continue
            after = tensor.data if replaced else before.clone()
            if kept is not None:
                before.copy_(kept)
            self.rewritten.append(Rewritten(tensor, before, after))
        show(self.rewritten, True)

    def _keep(self, written: Any) -> None:
        for tensor in written if isinstance(written, (list, tuple)) else (written,):
            if isinstance(tensor, Tensor) and not tensor.is_meta:
                for holder in self._holders.get(_place(tensor), ()):
                    if id(holder) not in self._kept:
                        self._kept[id(holder)] = holder.data.clone()


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _same_place(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()


def base_tensors(model: nn.Module) -> list[Tensor]:
    """The parameters and buffers of ``model``."""
    return [*model.parameters(), *model.buffers()]


def show(rewritten: Iterable[Rewritten], after: bool) -> None:
    """Give all tensors their data of after, or of before."""
    with torch.no_grad():
        for tensor in rewritten:
            tensor.show(after)
