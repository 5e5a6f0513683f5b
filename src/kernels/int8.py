"""A weight in eight bits a value, in the bytes of bitsandbytes' serialised form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..errors import FormatError
from . import ops
from .buffers import require_buffer, require_low_rank

FORMAT = "weight_format"
"""The entry of a checkpoint that says how the rows are laid out; 0 is one after the other, the only one in use."""


@dataclass(frozen=True, eq=False)
class Int8:
    """``W = weight * SCB / 127``, with a scale for each output (arXiv:2208.07339, section 2.1).

    Attributes:
        weight: int8, shape (out_features, in_features).
        scales: float32, shape (out_features,): the largest magnitude of each row; ``SCB`` in a checkpoint.
        dtype: That the weight had, and has again.
    """

    weight: Tensor
    scales: Tensor
    dtype: torch.dtype

    @classmethod
    def quantise(cls, weight: Tensor) -> Self:
        """Each row in 127ths of its largest magnitude, rounded to the nearest."""
        return cls(*ops.quantise_int8(weight), weight.dtype)

    def dequantise(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight, in its own dtype or another.

        Args:
            dtype: Of the result; that of ``out``, or the weight's own, where it is left out.
            out: A contiguous tensor to write into; with one, nothing of the weight's size is allocated.

        Raises:
            FormatError: The weight cannot be written into ``out``.
        """
        if out is None:
            return ops.dequantise_int8(self.weight, self.scales, dtype or self.dtype)
        require_buffer(out, self.shape, dtype, self.weight.device)
        ops.dequantise_int8_into(self.weight, self.scales, out)
        return out

    def plus(self, B: Tensor, A: Tensor, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """``W + B A``, added in float32 and rounded once; no gradient passes.

        Args:
            B: Shape (out_features, rank), with the change's scale in it.
            A: Shape (rank, in_features).
            dtype: As for ``dequantise``.
            out: Likewise.

        Raises:
            FormatError: The change is of another shape, or the sum cannot be written into ``out``.
        """
        require_low_rank(B, A, self.shape)
        low_rank = B.detach(), A.detach()
        if out is None:
            return ops.dequantise_int8_plus(self.weight, self.scales, *low_rank, dtype or self.dtype)
        require_buffer(out, self.shape, dtype, self.weight.device)
        ops.dequantise_int8_plus_into(self.weight, self.scales, *low_rank, out)
        return out

    @property
    def shape(self) -> torch.Size:
        """(out_features, in_features)."""
        return self.weight.shape

    def rows(self, start: int, stop: int) -> Self:
        """Some rows of the weight, which are not copied."""
        return replace(self, weight=self.weight[start:stop], scales=self.scales[start:stop])

    def to(self, device: torch.device) -> Self:
        """The same weight on another device."""
        return replace(self, weight=self.weight.to(device), scales=self.scales.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """The entries of a checkpoint by what stands there beside the weight, which stands under ""."""
        return {"": self.weight, "SCB": self.scales, FORMAT: torch.tensor(0, dtype=torch.uint8)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], dtype: torch.dtype, name: str) -> Self:
        """From what ``tensors`` gave, or bitsandbytes wrote.

        Args:
            tensors: The entries.
            dtype: That the weight is to have.
            name: The weight's name, for messages.

        Raises:
            FormatError: An entry is missing, of another size than it must be, or of a layout that is not known.
        """
        missing = sorted({"", "SCB"} - tensors.keys())
        if missing:
            raise FormatError(f"{name} lacks {', '.join(missing) or 'itself'}: its file is not whole.")
        weight, scales = tensors[""], tensors["SCB"]
        is_whole = weight.dim() == 2 and scales.numel() == weight.shape[0]
        if weight.dtype != torch.int8 or not is_whole or not scales.is_floating_point():
            raise FormatError(
                f"{name} of {weight.dtype} and shape {tuple(weight.shape)} has {scales.numel()} scales of "
                f"{scales.dtype}: an 8-bit weight is int8 with a floating-point scale for each row."
            )
        if int(tensors.get(FORMAT, torch.tensor(0))):
            raise FormatError(f"{name} is laid out for one kind of GPU: save it again with a newer bitsandbytes.")
        return cls(weight, scales.float(), dtype)
