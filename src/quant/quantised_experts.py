"""Fused experts in four or eight bits: one parameter of shape (experts, ., .) in bitsandbytes' bytes.

The parameter holds the codes, and the class of the module that it belongs to stays. In the instance's ``__dict__``, so
that it is what the module reads under its name, stands an ``ExpertMatrices``, which dequantises one expert after
another where they are multiplied. In a state dict the entries beside the codes have the names that bitsandbytes gives
to those of a parameter (``gate_up_proj.absmax``).
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from ..errors import FormatError
from ..kernels import FourBit, Int8, ops
from ..kernels.codebooks import DYNAMIC
from ..kernels.four_bit import NESTED_BLOCKSIZE, Nested
from ..kernels.reference import block_scales
from .expert_matrices import ExpertsAttribute
from .formats import summed

Stored = FourBit | Int8
Kind = Literal["nf4", "fp4", "int8"]

BLOCKSIZE = 64
"""Values that share a scale; each expert has whole blocks."""


class QuantisedExperts(nn.Parameter):
    """The codes of the weights of all experts of one projection, frozen; shape (experts, ., .).

    Four bits are those of the weight flattened expert by expert, with doubly quantised scales (arXiv:2305.14314); eight
    bits have a scale for each row of each expert as it lies there (arXiv:2208.07339, section 2.1).

    Attributes:
        sizes: (experts, ., .), the shape of the weight.
    """

    sizes: torch.Size
    _scales: Stored

    def __new__(cls, stored: Stored, sizes: Sequence[int]) -> Self:
        """The codes of ``stored``, which is a weight of shape ``sizes``."""
        codes = _codes_and_scales(stored)[0]
        weight = torch.Tensor._make_subclass(cls, codes.view(sizes[0], -1, codes.shape[-1]), False)
        weight.sizes = torch.Size(sizes)
        weight._scales = _with_codes(stored, codes.new_empty(0))
        return weight

    @classmethod
    def of(cls, value: Tensor | Iterable[Tensor], kind: Kind) -> Self:
        """A weight quantised, one expert after another.

        Args:
            value: Shape (experts, ., .), or the matrices of the experts in turn.
            kind: ``nf4``, ``fp4`` or ``int8``.

        Raises:
            FormatError: An expert does not have whole blocks (``is_whole``).
        """
        parts = []
        for matrix in value:
            if not is_whole(matrix.shape):
                raise FormatError(
                    f"An expert of shape {tuple(matrix.shape)} is no whole number of blocks of {BLOCKSIZE}."
                )
            parts.append(_quantised(matrix.detach().contiguous(), kind))
        return cls(_joined(parts), (len(parts), *parts[0].shape))

    @classmethod
    def read(cls, entries: Mapping[str, Tensor], dtype: torch.dtype, name: str) -> Self:
        """A weight from the entries of a state dict.

        Args:
            entries: By what follows the name of the parameter and a dot; the codes under "".
            dtype: That the weight is to have, if the entries do not say.
            name: The name of the parameter, for messages.

        Raises:
            FormatError: They are not those of a quantised weight of three axes, or not whole.
        """
        stored: Stored
        if "SCB" in entries and "" in entries:
            sizes = entries[""].shape
            stored = Int8.from_tensors({**entries, "": entries[""].flatten(0, -2)}, dtype, name)
        else:
            stored = FourBit.from_tensors(entries, name)
            sizes = stored.shape
        if len(sizes) != 3:
            raise FormatError(f"{name} of shape {tuple(sizes)} is no weight of fused experts, which has three axes.")
        if not is_whole(sizes[1:], getattr(stored, "blocksize", 1)):
            raise FormatError(f"{name} of shape {tuple(sizes)} has blocks that two experts share.")
        return cls(stored, sizes)

    @property
    def stored(self) -> Stored:
        """What the codes stand for; the scales follow them to their device."""
        if _device(self._scales) != self.device:
            self._scales = self._scales.to(self.device)
        return _with_codes(self._scales, self.data.flatten(0, 1))

    def matrix(self, expert: int) -> Stored:
        """The weight of one expert, of which nothing is copied but scales that begin within a block of theirs."""
        return self.stored.rows(expert * self.sizes[1], (expert + 1) * self.sizes[1])

    def dequantise(self) -> Tensor:
        """The weights of all experts in the dtype that they had."""
        return self.stored.dequantise().view(self.sizes)

    def entries(self) -> dict[str, Tensor]:
        """What ``read`` reads: the codes of four bits in bitsandbytes' shape, those of eight in the weight's."""
        stored = self.stored
        codes = stored.packed if isinstance(stored, FourBit) else stored.weight.view(self.sizes)
        return {**stored.tensors(), "": codes}

    def plus(self, delta: Tensor) -> Self:
        """The sum, with the experts that ``delta`` changes quantised again.

        Where scales are quantised themselves, those that share a block with a changed one are rounded again too.
        """
        before, rows = self.stored, self.sizes[1]
        after = _single(before)
        for expert, change in enumerate(delta):
            if change.any():
                part = _quantised_as(before, summed(self.matrix(expert).dequantise(), change))
                into = after.rows(expert * rows, (expert + 1) * rows)
                for old, new in zip(_codes_and_scales(into), _codes_and_scales(part), strict=True):
                    old.copy_(new)
        return type(self)(_nested_as(before, after), self.sizes)

    def become(self, other: Self) -> None:
        """Become a copy of another one, on this one's device."""
        self.sizes, self._scales = other.sizes, copy.deepcopy(other._scales.to(self.device))
        self.data = other.data.to(self.device, copy=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with codes and scales of its own."""
        if id(self) not in memo:
            memo[id(self)] = type(self)(copy.deepcopy(self.stored, memo), self.sizes)
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """The stored weight is what a pickle holds."""
        return type(self), (self.stored, self.sizes)


def is_whole(sizes: Sequence[int], blocksize: int = BLOCKSIZE) -> bool:
    """Whether the matrix of an expert is a whole number of blocks, so that it can be read alone."""
    return not torch.Size(sizes).numel() % blocksize


def hold_experts(module: nn.Module, name: str, weight: QuantisedExperts) -> None:
    """Let ``module`` hold ``weight`` as its parameter ``name``, and read it as matrices of experts."""
    module._parameters[name] = weight
    if _save not in module._state_dict_hooks.values():
        module.register_state_dict_post_hook(_save)
        module.register_load_state_dict_pre_hook(_load)
    stand_in(module, name)


def stand_in(module: nn.Module, name: str) -> None:
    """Put what ``module`` is to read before its parameter ``name``, if it holds quantised experts."""
    if _save in module._state_dict_hooks.values():
        module.__dict__[name] = ExpertsAttribute(module, name)


def logical_shape(parameter: Tensor) -> torch.Size:
    """The shape of a parameter, or that of the weight whose codes it holds."""
    return parameter.sizes if isinstance(parameter, QuantisedExperts) else parameter.shape


def _save(module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    """Put what the codes stand for beside them."""
    for key, weight in module._parameters.items():
        if isinstance(weight, QuantisedExperts):
            for name, tensor in weight.entries().items():
                state_dict[f"{prefix}{key}.{name}" if name else prefix + key] = tensor


def _load(module: nn.Module, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
    """Take the codes and what they stand for."""
    for key, weight in module._parameters.items():
        own = prefix + key
        beside = [name for name in state_dict if name.startswith(own + ".")]
        if not isinstance(weight, QuantisedExperts) or not (beside or own in state_dict):
            continue
        entries = {name[len(own) + 1 :]: state_dict.pop(name) for name in beside}
        if own in state_dict:
            entries[""] = state_dict[own]
        found = QuantisedExperts.read(entries, weight._scales.dtype, own)
        if found.sizes != weight.sizes:
            raise FormatError(f"{own} has shape {tuple(weight.sizes)}, and its file one of {tuple(found.sizes)}.")
        weight.become(found)
        state_dict[own] = weight.data


def _quantised(matrix: Tensor, kind: Kind) -> Stored:
    if kind == "int8":
        return Int8.quantise(matrix)
    return FourBit.quantise(matrix, kind, blocksize=BLOCKSIZE, double=False)


def _quantised_as(stored: Stored, matrix: Tensor) -> Stored:
    if isinstance(stored, Int8):
        return Int8.quantise(matrix)
    return FourBit.quantise(matrix, stored.kind, blocksize=stored.blocksize, double=False)


def _joined(parts: Sequence[Any]) -> Stored:
    """The weights of all experts as one: rows after rows; in four bits with scales that are quantised too."""
    first = parts[0]
    codes, scales = (torch.cat(tensors) for tensors in zip(*map(_codes_and_scales, parts), strict=True))
    if isinstance(first, Int8):
        return Int8(codes, scales, first.dtype)
    mean, dynamic = scales.mean(), DYNAMIC.to(scales.device)
    absmax, of_blocks = ops.quantise_8bit(scales - mean, dynamic, NESTED_BLOCKSIZE)
    shape, nested = torch.Size((len(parts), *first.shape)), Nested(of_blocks, dynamic, mean.item())
    return FourBit(codes, absmax, first.code, first.kind, shape, first.dtype, first.blocksize, nested)


def _single(stored: Stored) -> Stored:
    """A copy of a weight, with its scales in floating point."""
    if isinstance(stored, Int8):
        return copy.deepcopy(stored)
    return replace(stored, packed=stored.packed.clone(), absmax=_scales(stored).clone(), nested=None)


def _scales(stored: FourBit) -> Tensor:
    """The scales of the blocks in floating point."""
    nested = stored.nested
    if nested is None:
        return stored.absmax
    return block_scales(stored.absmax, nested.absmax, nested.code, nested.offset, nested.blocksize)


def _nested_as(before: Stored, after: Stored) -> Stored:
    """A weight that was changed, with its scales quantised as before; where none has changed they are the same."""
    if not (isinstance(before, FourBit) and isinstance(after, FourBit) and before.nested):
        return after
    nested, size = before.nested, before.nested.blocksize
    absmax, of_blocks = ops.quantise_8bit(after.absmax - nested.offset, nested.code, size)
    changed = after.absmax != _scales(before)
    blocks = nn.functional.pad(changed, (0, -changed.numel() % size)).view(-1, size).any(1)
    absmax = torch.where(blocks.repeat_interleave(size)[: changed.numel()], absmax, before.absmax)
    nested = replace(nested, absmax=torch.where(blocks, of_blocks, nested.absmax))
    return replace(after, absmax=absmax, nested=nested)


def _codes_and_scales(stored: Stored) -> tuple[Tensor, Tensor]:
    return (stored.packed, stored.absmax) if isinstance(stored, FourBit) else (stored.weight, stored.scales)


def _with_codes(stored: Stored, codes: Tensor) -> Stored:
    if isinstance(stored, FourBit):
        return replace(stored, packed=codes)
    return replace(stored, weight=codes)


def _device(stored: Stored) -> torch.device:
    return _codes_and_scales(stored)[1].device
