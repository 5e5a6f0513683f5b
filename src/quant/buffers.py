"""Memory for weights in floating point, which live for one product, or from a recomputation to its backward pass."""

from collections import defaultdict

import torch
from torch import Tensor

from .operand import Operand
from .recomputation import recomputation


class Buffers:
    """Weights in floating point, and the memory they lie in.

    On a CPU the memory is kept for the next weight of the same size: fresh memory costs a page fault for each 4 KiB,
    which takes longer than dequantising into it. On a GPU the allocator of torch does the same.
    """

    def __init__(self) -> None:
        self._free: defaultdict[tuple[torch.Size, torch.dtype], list[Tensor]] = defaultdict(list)
        self._kept: dict[tuple[Operand, bool], Tensor] = {}
        self._recomputation: int | None = None

    def take(self, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """Memory for a weight; ``None`` leaves it to the allocator."""
        if device.type != "cpu":
            return None
        free = self._free[shape, dtype]
        return free.pop() if free else torch.empty(shape, dtype=dtype)

    def give(self, weight: Tensor) -> None:
        """Take the memory of a weight back, when nothing reads it any more."""
        if weight.device.type == "cpu":
            self._free[weight.shape, weight.dtype].append(weight)

    def put(self, operand: Operand, merged: bool, weight: Tensor) -> None:
        """After the product of a forward pass: keep the weight if that is a recomputation, or take its memory back.

        What was kept of the same weight before is of an earlier step, and goes. So does all that an earlier
        recomputation has left.
        """
        running = recomputation()
        stale = [self._kept.pop((operand, merged), None)]
        if running not in (None, self._recomputation):
            stale += self._kept.values()
            self._kept.clear()
            self._recomputation = running
        if running is None:
            stale.append(weight)
        else:
            self._kept[operand, merged] = weight
        for gone in stale:
            if gone is not None:
                self.give(gone)

    def kept(self, operand: Operand, merged: bool, dtype: torch.dtype) -> Tensor | None:
        """In a backward pass: the weight that the recomputation before it has kept, if it has; it is no longer."""
        weight = self._kept.pop((operand, merged), None)
        return weight if weight is not None and weight.dtype == dtype else None

    def clear(self) -> None:
        """Let go of all memory."""
        self._free.clear()
        self._kept.clear()


BUFFERS = Buffers()
"""The buffers of this process."""
