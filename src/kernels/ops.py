"""What each operation is: its schema and its shapes, for the dispatcher and for compilers.

The implementations are registered by device: plain torch for every device, kernels for those that have some.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from . import reference

OLDEST = (7, 0)
"""The compute capability that Triton begins with."""

_LIBRARY = torch.library.Library("inarch", "DEF")

_LIBRARY.define(
    "dequantise_4bit(Tensor packed, Tensor absmax, Tensor code, int blocksize, SymInt[] shape, ScalarType dtype, "
    "Tensor? nested_absmax=None, Tensor? nested_code=None, float offset=0.0, int nested_blocksize=256) -> Tensor"
)
_LIBRARY.define(
    "dequantise_4bit_plus(Tensor packed, Tensor absmax, Tensor code, int blocksize, SymInt[] shape, ScalarType dtype, "
    "Tensor B, Tensor A, float scale, Tensor? nested_absmax=None, Tensor? nested_code=None, float offset=0.0, "
    "int nested_blocksize=256) -> Tensor"
)
_LIBRARY.define("quantise_4bit(Tensor weight, Tensor code, int blocksize) -> (Tensor, Tensor)")
_LIBRARY.define("dequantise_int8(Tensor weight, Tensor scales, ScalarType dtype) -> Tensor")
_LIBRARY.define("quantise_int8(Tensor weight) -> (Tensor, Tensor)")

dequantise_4bit: Callable[..., Tensor] = torch.ops.inarch.dequantise_4bit.default
dequantise_4bit_plus: Callable[..., Tensor] = torch.ops.inarch.dequantise_4bit_plus.default
quantise_4bit: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]] = torch.ops.inarch.quantise_4bit.default
dequantise_int8: Callable[[Tensor, Tensor, torch.dtype], Tensor] = torch.ops.inarch.dequantise_int8.default
quantise_int8: Callable[[Tensor], tuple[Tensor, Tensor]] = torch.ops.inarch.quantise_int8.default


@torch.library.impl(_LIBRARY, "dequantise_4bit", "CompositeExplicitAutograd")
def _dequantise_4bit(
    packed: Tensor,
    absmax: Tensor,
    code: Tensor,
    blocksize: int,
    shape: Sequence[int],
    dtype: torch.dtype,
    nested_absmax: Tensor | None = None,
    nested_code: Tensor | None = None,
    offset: float = 0.0,
    nested_blocksize: int = 256,
) -> Tensor:
    scales = reference.block_scales(absmax, nested_absmax, nested_code, offset, nested_blocksize)
    return reference.dequantise_4bit(packed, scales, code, blocksize, shape, dtype)


def _fake_dequantise_4bit(
    packed: Tensor, absmax: Tensor, code: Tensor, blocksize: int, shape: Any, dtype: torch.dtype, *_: Any
) -> Tensor:
    return packed.new_empty(tuple(shape), dtype=dtype)


@torch.library.impl(_LIBRARY, "dequantise_4bit_plus", "CompositeExplicitAutograd")
def _dequantise_4bit_plus(
    packed: Tensor,
    absmax: Tensor,
    code: Tensor,
    blocksize: int,
    shape: Sequence[int],
    dtype: torch.dtype,
    B: Tensor,
    A: Tensor,
    scale: float,
    nested_absmax: Tensor | None = None,
    nested_code: Tensor | None = None,
    offset: float = 0.0,
    nested_blocksize: int = 256,
) -> Tensor:
    scales = reference.block_scales(absmax, nested_absmax, nested_code, offset, nested_blocksize)
    return reference.dequantise_4bit_plus(packed, scales, code, blocksize, shape, dtype, B, A, scale)


@torch.library.impl(_LIBRARY, "quantise_4bit", "CompositeExplicitAutograd")
def _quantise_4bit(weight: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    return reference.quantise_4bit(weight, code, blocksize)


def _fake_quantise_4bit(weight: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    number = weight.numel()
    packed = weight.new_empty(((number + 1) // 2, 1), dtype=torch.uint8)
    return packed, weight.new_empty(((number + blocksize - 1) // blocksize,), dtype=torch.float32)


@torch.library.impl(_LIBRARY, "dequantise_int8", "CompositeExplicitAutograd")
def _dequantise_int8(weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    return reference.dequantise_int8(weight, scales, dtype)


def _fake_dequantise_int8(weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty_like(weight, dtype=dtype)


@torch.library.impl(_LIBRARY, "quantise_int8", "CompositeExplicitAutograd")
def _quantise_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    return reference.quantise_int8(weight)


def _fake_quantise_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weight, dtype=torch.int8), weight.new_empty(weight.shape[:1], dtype=torch.float32)


def _on_gpu(name: str, otherwise: Callable[..., Any]) -> None:
    """Let an operation be computed on a GPU by its Triton kernel, or as on every device where there is no Triton."""

    def run(*arguments: Any) -> Any:
        device = arguments[0].device
        if find_spec("triton") is None or torch.cuda.get_device_capability(device) < OLDEST:
            return otherwise(*arguments)
        kernel = getattr(import_module(f".triton.{name}", __package__), name)
        with torch.cuda.device(device):
            return kernel(*arguments)

    torch.library.impl(_LIBRARY, name, "CUDA")(run)


_FAKES: dict[str, Callable[..., Any]] = {
    "dequantise_4bit": _fake_dequantise_4bit,
    "dequantise_4bit_plus": _fake_dequantise_4bit,
    "quantise_4bit": _fake_quantise_4bit,
    "dequantise_int8": _fake_dequantise_int8,
    "quantise_int8": _fake_quantise_int8,
}
for _name, _fake in _FAKES.items():
    torch.library.register_fake(f"inarch::{_name}", _fake, lib=_LIBRARY)

_WITH_KERNELS: dict[str, Callable[..., Any]] = {
    "dequantise_4bit": _dequantise_4bit,
    "dequantise_4bit_plus": _dequantise_4bit_plus,
    "dequantise_int8": _dequantise_int8,
}
for _name, _otherwise in _WITH_KERNELS.items():
    _on_gpu(_name, _otherwise)
