"""A weight in four bits a value, in the bytes of bitsandbytes' serialised form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from ..errors import FormatError
from . import ops, reference
from .buffers import require_buffer, require_low_rank
from .codebooks import CODEBOOKS, DYNAMIC

STATE = "quant_state.bitsandbytes__"
"""What the name of the tensor begins with that holds, as JSON in bytes, what is no tensor."""

NESTED_BLOCKSIZE = 256

DTYPES = ("float64", "float32", "bfloat16", "float16")
"""What a weight may have been."""


@dataclass(frozen=True, eq=False)
class Nested:
    """What the quantised scales of a doubly quantised weight stand for: ``code[scale] * absmax of its block + offset``.

    Attributes:
        absmax: float32, one for each ``blocksize`` scales.
        code: float32, 256 ascending values.
        offset: The mean of the scales.
        blocksize: Scales that share an entry of ``absmax``.
    """

    absmax: Tensor
    code: Tensor
    offset: float
    blocksize: int = NESTED_BLOCKSIZE


@dataclass(frozen=True, eq=False)
class FourBit:
    """``W = code[nibble] * absmax of its block``, in blocks of the flattened weight (arXiv:2305.14314, section 3).

    Attributes:
        packed: uint8, two values a byte, the first in the high four bits; shape (bytes, 1).
        absmax: One a block: float32, or uint8 where the scales are quantised themselves.
        code: float32, sixteen values.
        kind: ``nf4`` or ``fp4``.
        shape: Of the weight: (out_features, in_features).
        dtype: That the weight had, and has again.
        blocksize: Values that share a scale.
        nested: What the quantised scales stand for.
    """

    packed: Tensor
    absmax: Tensor
    code: Tensor
    kind: Literal["nf4", "fp4"]
    shape: torch.Size
    dtype: torch.dtype
    blocksize: int = 64
    nested: Nested | None = None

    @classmethod
    def quantise(
        cls, weight: Tensor, kind: Literal["nf4", "fp4"] = "nf4", *, blocksize: int = 64, double: bool = True
    ) -> Self:
        """The weight in the nearest codes; with ``double`` the scales are stored in eight bits each."""
        code = CODEBOOKS[kind].to(weight.device)
        packed, absmax = ops.quantise_4bit(weight, code, blocksize)
        if not double:
            return cls(packed, absmax, code, kind, weight.shape, weight.dtype, blocksize)
        mean = absmax.mean()
        dynamic = DYNAMIC.to(weight.device)
        scales, nested_absmax = ops.quantise_8bit(absmax - mean, dynamic, NESTED_BLOCKSIZE)
        nested = Nested(nested_absmax, dynamic, mean.item())
        return cls(packed, scales, code, kind, weight.shape, weight.dtype, blocksize, nested)

    def dequantise(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight, in its own dtype or another.

        Args:
            dtype: Of the result; that of ``out``, or the weight's own, where it is left out.
            out: A contiguous tensor to write into; with one, nothing of the weight's size is allocated.

        Raises:
            FormatError: The weight cannot be written into ``out``.
        """
        if out is None:
            return ops.dequantise_4bit(*self._operands(), self.shape, dtype or self.dtype)
        require_buffer(out, self.shape, dtype, self.packed.device)
        ops.dequantise_4bit_into(*self._operands(), out)
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
            return ops.dequantise_4bit_plus(*self._operands(), *low_rank, dtype or self.dtype)
        require_buffer(out, self.shape, dtype, self.packed.device)
        ops.dequantise_4bit_plus_into(*self._operands(), *low_rank, out)
        return out

    def to_fp8(self) -> tuple[Tensor, Tensor]:
        """The weight in ``torch.float8_e4m3fn`` and a scale for each row, for ``fp8_linear``.

        What is added to the error of four bits is the rounding of e4m3: 2^-4 of a value at most.
        """
        return ops.requantise_4bit_fp8(*self._operands(), self.shape)

    def _operands(self) -> tuple[Any, ...]:
        """What the operations of ops.py begin with."""
        own = self.nested
        nested = (own.absmax, own.code, own.offset, own.blocksize) if own else (None, None, 0.0, NESTED_BLOCKSIZE)
        return self.packed, self.absmax, self.code, self.blocksize, *nested

    def rows(self, start: int, stop: int) -> Self:
        """Some rows of the weight, all axes but the last taken for one.

        Nothing is copied but scales that begin within a block of theirs.

        Raises:
            FormatError: The rows do not begin with a block.
        """
        width = self.shape[-1]
        first, last = start * width // self.blocksize, -(-stop * width // self.blocksize)
        if start * width % self.blocksize:
            raise FormatError(f"Rows of {width} values from the {start}th on do not begin with a block of 4-bit codes.")
        absmax, nested = self.absmax[first:last], self.nested
        if nested:
            begin, lead = divmod(first, nested.blocksize)
            around = nested.absmax[begin : -(-last // nested.blocksize)]
            if lead:
                absmax = self.absmax[first - lead : last]
                absmax = reference.block_scales(absmax, around, nested.code, nested.offset, nested.blocksize)[lead:]
            nested = None if lead else replace(nested, absmax=around)
        packed = self.packed[start * width // 2 : -(-stop * width // 2)]
        return replace(self, packed=packed, absmax=absmax, shape=torch.Size((stop - start, width)), nested=nested)

    def to(self, device: torch.device) -> Self:
        """The same weight on another device."""
        nested = self.nested
        if nested:
            nested = replace(nested, absmax=nested.absmax.to(device), code=nested.code.to(device))
        packed, absmax, code = (tensor.to(device) for tensor in (self.packed, self.absmax, self.code))
        return replace(self, packed=packed, absmax=absmax, code=code, nested=nested)

    def tensors(self) -> dict[str, Tensor]:
        """The entries of a checkpoint by what follows the weight's name there; the weight itself stands under ""."""
        facts: dict[str, Any] = {
            "quant_type": self.kind,
            "blocksize": self.blocksize,
            "dtype": str(self.dtype).removeprefix("torch."),
            "shape": list(self.shape),
        }
        found = {"": self.packed, "absmax": self.absmax, "quant_map": self.code}
        if self.nested:
            found |= {"nested_absmax": self.nested.absmax, "nested_quant_map": self.nested.code}
            facts |= {"nested_blocksize": self.nested.blocksize, "nested_dtype": "float32"}
            facts |= {"nested_offset": self.nested.offset}
        return found | {STATE + self.kind: torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], name: str) -> Self:
        """From what ``tensors`` gave, or bitsandbytes wrote.

        Args:
            tensors: The entries.
            name: The weight's name, for messages.

        Raises:
            FormatError: An entry is missing, of another size than it must be, or cannot be read.
        """
        (kind,) = [kind for kind in CODEBOOKS if STATE + kind in tensors] or [""]
        if not kind:
            raise FormatError(f"{name} has no {STATE}nf4 or {STATE}fp4 beside it: its file is no 4-bit checkpoint.")
        facts = _facts(tensors[STATE + kind], kind, name)
        needed = {"", "absmax", "quant_map"} | ({"nested_absmax", "nested_quant_map"} if _is_nested(facts) else set())
        missing = sorted(needed - tensors.keys())
        if missing:
            raise FormatError(f"{name} lacks {', '.join(missing) or 'itself'}: its file is not whole.")
        nested = None
        if _is_nested(facts):
            nested = Nested(
                tensors["nested_absmax"],
                tensors["nested_quant_map"],
                float(facts["nested_offset"]),
                int(facts["nested_blocksize"]),
            )
        weight = cls(
            tensors[""],
            tensors["absmax"],
            tensors["quant_map"],
            kind,  # type: ignore[arg-type]
            torch.Size(facts["shape"]),
            getattr(torch, facts["dtype"]),
            int(facts["blocksize"]),
            nested,
        )
        weight._require_sizes(name)
        return weight

    def _require_sizes(self, name: str) -> None:
        number = self.shape.numel()
        blocks = -(-number // self.blocksize)
        sizes = {
            "weight": (self.packed, -(-number // 2)),
            "absmax": (self.absmax, blocks),
            "quant_map": (self.code, 16),
        }
        if self.nested:
            sizes["nested_absmax"] = (self.nested.absmax, -(-blocks // self.nested.blocksize))
            sizes["nested_quant_map"] = (self.nested.code, 256)
        codes = {"weight"} | ({"absmax"} if self.nested else set())
        for entry, (tensor, size) in sizes.items():
            if tensor.dtype != torch.uint8 if entry in codes else not tensor.is_floating_point():
                wanted = "uint8" if entry in codes else "a floating-point dtype"
                raise FormatError(
                    f"{name} has {entry} in {tensor.dtype}, which is to be in {wanted}: its file is wrong."
                )
            if tensor.numel() != size:
                raise FormatError(
                    f"{name} of shape {tuple(self.shape)} needs {size} values of {entry}, and its file has "
                    f"{tensor.numel()}: the file is not whole, or of another model."
                )


def _is_nested(facts: Mapping[str, Any]) -> bool:
    return "nested_offset" in facts


def _facts(state: Tensor, kind: str, name: str) -> dict[str, Any]:
    """What is no tensor, with every entry that there must be."""
    try:
        facts = json.loads(bytes(state.tolist()))
    except (ValueError, TypeError):
        facts = None
    if not isinstance(facts, dict):
        raise FormatError(f"The quantisation state of {name} cannot be read: its file is not whole.")
    shape, dtype = facts.get("shape"), facts.get("dtype")
    held = {
        "shape": isinstance(shape, list) and bool(shape) and all(map(_is_size, shape)),
        "dtype": dtype in DTYPES,
        "blocksize": _is_size(facts.get("blocksize")),
        "quant_type": facts.get("quant_type", kind) == kind,
    }
    if _is_nested(facts):
        held["nested_offset"] = isinstance(facts["nested_offset"], (int, float))
        held["nested_blocksize"] = _is_size(facts.get("nested_blocksize"))
    for entry, holds in held.items():
        if not holds:
            raise FormatError(
                f"The quantisation state of {name} cannot be read: its {entry} is {facts.get(entry)!r}. Its file is "
                "not whole, or of a newer format."
            )
    return facts


def _is_size(value: object) -> bool:
    return isinstance(value, int) and value > 0
