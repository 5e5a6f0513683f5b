"""What each operation is: its schema and its shapes, for the dispatcher and for compilers.

The implementations are registered by device: plain torch for every device, kernels for those that have some. What gives
a weight back exists twice: as an operation that allocates its result, and as one, ``..._into``, that writes into a
tensor of the caller's. The first is the second after an allocation.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from . import fp8, pieces, reference

OLDEST = (7, 0)
"""The compute capability that Triton begins with."""

OLDEST_WITH_FP8 = (8, 9)
"""The one that e4m3 begins with."""

_LIBRARY = torch.library.Library("inarch", "DEF")

_FOUR_BIT = (
    "Tensor packed, Tensor absmax, Tensor code, int blocksize, Tensor? nested_absmax, Tensor? nested_code, "
    "float offset, int nested_blocksize"
)
_INT8 = "Tensor weight, Tensor scales"
_LOW_RANK = "Tensor B, Tensor A"

for _schema in (
    f"dequantise_4bit({_FOUR_BIT}, SymInt[] shape, ScalarType dtype) -> Tensor",
    f"dequantise_4bit_into({_FOUR_BIT}, Tensor(a!) out) -> ()",
    f"dequantise_4bit_plus({_FOUR_BIT}, {_LOW_RANK}, ScalarType dtype) -> Tensor",
    f"dequantise_4bit_plus_into({_FOUR_BIT}, {_LOW_RANK}, Tensor(a!) out) -> ()",
    f"dequantise_int8({_INT8}, ScalarType dtype) -> Tensor",
    f"dequantise_int8_into({_INT8}, Tensor(a!) out) -> ()",
    f"dequantise_int8_plus({_INT8}, {_LOW_RANK}, ScalarType dtype) -> Tensor",
    f"dequantise_int8_plus_into({_INT8}, {_LOW_RANK}, Tensor(a!) out) -> ()",
    "quantise_4bit(Tensor weight, Tensor code, int blocksize) -> (Tensor, Tensor)",
    "quantise_8bit(Tensor values, Tensor code, int blocksize) -> (Tensor, Tensor)",
    "quantise_int8(Tensor weight) -> (Tensor, Tensor)",
    "quantise_fp8(Tensor weight) -> (Tensor, Tensor)",
    f"requantise_4bit_fp8({_FOUR_BIT}, SymInt[] shape) -> (Tensor, Tensor)",
):
    _LIBRARY.define(_schema)

Quantised = tuple[Tensor, Tensor]

dequantise_4bit: Callable[..., Tensor] = torch.ops.inarch.dequantise_4bit.default
dequantise_4bit_into: Callable[..., None] = torch.ops.inarch.dequantise_4bit_into.default
dequantise_4bit_plus: Callable[..., Tensor] = torch.ops.inarch.dequantise_4bit_plus.default
dequantise_4bit_plus_into: Callable[..., None] = torch.ops.inarch.dequantise_4bit_plus_into.default
dequantise_int8: Callable[[Tensor, Tensor, torch.dtype], Tensor] = torch.ops.inarch.dequantise_int8.default
dequantise_int8_into: Callable[[Tensor, Tensor, Tensor], None] = torch.ops.inarch.dequantise_int8_into.default
dequantise_int8_plus: Callable[..., Tensor] = torch.ops.inarch.dequantise_int8_plus.default
dequantise_int8_plus_into: Callable[..., None] = torch.ops.inarch.dequantise_int8_plus_into.default
quantise_4bit: Callable[[Tensor, Tensor, int], Quantised] = torch.ops.inarch.quantise_4bit.default
quantise_8bit: Callable[[Tensor, Tensor, int], Quantised] = torch.ops.inarch.quantise_8bit.default
quantise_int8: Callable[[Tensor], Quantised] = torch.ops.inarch.quantise_int8.default
quantise_fp8: Callable[[Tensor], Quantised] = torch.ops.inarch.quantise_fp8.default
requantise_4bit_fp8: Callable[..., Quantised] = torch.ops.inarch.requantise_4bit_fp8.default


def _empty_4bit(packed: Tensor, *others: Any) -> Tensor:
    shape, dtype = others[-2:]
    return packed.new_empty(tuple(shape), dtype=dtype)


def _empty_4bit_plus(packed: Tensor, *others: Any) -> Tensor:
    B, A, dtype = others[-3:]
    return packed.new_empty((B.shape[0], A.shape[1]), dtype=dtype)


def _empty_int8(weight: Tensor, *others: Any) -> Tensor:
    return weight.new_empty(weight.shape, dtype=others[-1])


def _empty_quantised_4bit(weight: Tensor, code: Tensor, blocksize: int) -> Quantised:
    number = weight.numel()
    packed = weight.new_empty(((number + 1) // 2, 1), dtype=torch.uint8)
    return packed, weight.new_empty(((number + blocksize - 1) // blocksize,), dtype=torch.float32)


def _empty_quantised_8bit(values: Tensor, code: Tensor, blocksize: int) -> Quantised:
    scales = values.new_empty(((values.numel() + blocksize - 1) // blocksize,), dtype=torch.float32)
    return values.new_empty(values.shape, dtype=torch.uint8), scales


def _empty_quantised_int8(weight: Tensor) -> Quantised:
    return weight.new_empty(weight.shape, dtype=torch.int8), weight.new_empty(weight.shape[:1], dtype=torch.float32)


def _empty_quantised_fp8(weight: Tensor) -> Quantised:
    scales = weight.new_empty(weight.shape[:1], dtype=torch.float32)
    return weight.new_empty(weight.shape, dtype=torch.float8_e4m3fn), scales


def _empty_requantised_4bit_fp8(packed: Tensor, *others: Any) -> Quantised:
    shape: Sequence[int] = others[-1]
    scales = packed.new_empty(tuple(shape[:1]), dtype=torch.float32)
    return packed.new_empty(tuple(shape), dtype=torch.float8_e4m3fn), scales


def _allocating(empty: Callable[..., Tensor], into: Callable[..., None], described: int) -> Callable[..., Tensor]:
    """An operation from the one that writes into a tensor: its last ``described`` arguments say what tensor."""

    def run(*arguments: Any) -> Tensor:
        out = empty(*arguments)
        into(*arguments[:-described], out)
        return out

    return run


def _on_gpu(name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """An operation computed on a GPU by its Triton kernel, or as on every device where Triton cannot."""
    oldest = OLDEST_WITH_FP8 if name.endswith("fp8") else OLDEST

    def run(*arguments: Any) -> Any:
        device = arguments[0].device
        if find_spec("triton") is None or torch.cuda.get_device_capability(device) < oldest:
            return otherwise(*arguments)
        kernel = getattr(import_module(f".triton.{name.removesuffix('_into')}", __package__), name)
        with torch.cuda.device(device):
            return kernel(*arguments)

    return run


_FAKES: dict[str, Callable[..., Any]] = {
    "dequantise_4bit": _empty_4bit,
    "dequantise_4bit_plus": _empty_4bit_plus,
    "dequantise_int8": _empty_int8,
    "dequantise_int8_plus": _empty_int8,
    "quantise_4bit": _empty_quantised_4bit,
    "quantise_8bit": _empty_quantised_8bit,
    "quantise_int8": _empty_quantised_int8,
    "quantise_fp8": _empty_quantised_fp8,
    "requantise_4bit_fp8": _empty_requantised_4bit_fp8,
}
_ALLOCATING: dict[str, Callable[..., Tensor]] = {
    "dequantise_4bit": _allocating(_empty_4bit, dequantise_4bit_into, 2),
    "dequantise_4bit_plus": _allocating(_empty_4bit_plus, dequantise_4bit_plus_into, 1),
    "dequantise_int8": _allocating(_empty_int8, dequantise_int8_into, 1),
    "dequantise_int8_plus": _allocating(_empty_int8, dequantise_int8_plus_into, 1),
}
_WITH_KERNELS: dict[str, Callable[..., Any]] = {
    "dequantise_4bit_into": pieces.dequantise_4bit_into,
    "dequantise_4bit_plus_into": pieces.dequantise_4bit_plus_into,
    "dequantise_int8_into": pieces.dequantise_int8_into,
    "dequantise_int8_plus_into": pieces.dequantise_int8_plus_into,
    "quantise_4bit": pieces.quantise_4bit,
    "quantise_8bit": reference.quantise_8bit,
    "quantise_int8": pieces.quantise_int8,
    "quantise_fp8": fp8.quantise_fp8,
    "requantise_4bit_fp8": fp8.requantise_4bit_fp8,
}

for _name, _computed in (_ALLOCATING | _WITH_KERNELS).items():
    torch.library.impl(_LIBRARY, _name, "CompositeExplicitAutograd")(_computed)
    torch.library.register_fake(f"inarch::{_name}", _FAKES.get(_name, lambda *_: None), lib=_LIBRARY)
for _name, _computed in _WITH_KERNELS.items():
    torch.library.impl(_LIBRARY, _name, "CUDA")(_on_gpu(_name, _computed))
