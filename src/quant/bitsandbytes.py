"""The formats of bitsandbytes' layers, as transformers loads them: four bits (NF4, FP4) and eight."""

import copy
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse, has_avx512bf16
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from torch import Tensor, nn

from ..errors import FormatError
from ..kernels import FourBit, Int8
from .formats import WeightFormat, summed, weight_format
from .operand import Floating, Operand


class _Declared(WeightFormat):
    """A layer that says its sizes."""

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the module's declared sizes."""
        return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]

    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight in floating point."""
        return self._dequantised(module, module._parameters["weight"])

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """The sum, quantised again: what is lost is the rounding of the format, once more."""
        return self._quantised(summed(self._dequantised(module, weight), delta), weight)

    def _dequantised(self, module: nn.Module, weight: Any) -> Tensor:
        raise NotImplementedError

    def _quantised(self, value: Tensor, like: Any) -> Tensor:
        raise NotImplementedError


class _Read:
    """Weights that were read already: taking a quantisation state apart takes longer than a small product."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], int, Any]] = {}

    def get(self, state: Any, codes: Tensor, read: Callable[[], Any]) -> Any:
        """What ``read`` gives for a quantisation state and its codes, the same as long as these are."""
        key = id(state)
        owner, place, found = self._known.get(key, (None, 0, None))
        if owner is None or owner() is not state or place != codes.data_ptr():
            found = read()
            if state is not None:
                forget = partial(self._known.pop, key, None)
                self._known[key] = (weakref.ref(state, lambda _: forget()), codes.data_ptr(), found)
        return found


_READ = _Read()


class FourBitFormat(_Declared):
    """``Linear4bit``: sixteen values, a scale for each block, the scales themselves in eight bits or not."""

    def hold(self, module: nn.Module) -> bool:
        """Keep bitsandbytes from packing the weight anew, and take it back where it has: no gradient passes that form.

        On processors with AVX512-BF16 it does so at the first call in evaluation mode.
        """
        layer: Any = module
        if layer.compute_dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
            raise FormatError(
                f"This Linear4bit computes in {layer.compute_dtype}, through which no gradient passes: load the model "
                "with bnb_4bit_compute_dtype=torch.bfloat16."
            )
        if not layer.support_avx512bf16_for_cpu:
            return False
        layer.support_avx512bf16_for_cpu = False
        state = layer.weight.quant_state
        if getattr(state, "packing_format_for_cpu", False):
            weight = _taken_back(layer.weight.data, state)
            layer.weight.data = weight.packed
            state.absmax, state.dtype, state.packing_format_for_cpu = weight.absmax, weight.dtype, False
        return True

    def release(self, module: nn.Module) -> None:
        """Let it pack."""
        layer: Any = module
        layer.support_avx512bf16_for_cpu = has_avx512bf16()

    def operand(self, module: nn.Module) -> FourBit:
        """The weight, as our kernels take it."""
        weight: Any = module._parameters["weight"]
        found: FourBit = _READ.get(weight.quant_state, weight.data, lambda: self._stored(module, weight))
        return found

    def _dequantised(self, module: nn.Module, weight: Any) -> Tensor:
        return self._stored(module, weight).dequantise()

    def _stored(self, module: nn.Module, weight: Any) -> FourBit:
        layer: Any = module
        state = weight.quant_state if weight.quant_state is not None else layer.quant_state
        if state is None:
            raise FormatError(
                "This Linear4bit is not quantised yet: bitsandbytes does that when the model is moved to its device. "
                "Load it with transformers, or move it there first."
            )
        packed = weight.data.view(torch.uint8)
        if getattr(state, "packing_format_for_cpu", False):
            return _taken_back(packed, state)
        return FourBit.from_tensors({"": packed, **state.as_dict(packed=True)}, "The weight of this Linear4bit")

    def _quantised(self, value: Tensor, like: Any) -> Tensor:
        quantised: Tensor = Params4bit(
            value,
            requires_grad=False,
            blocksize=like.blocksize,
            compress_statistics=like.compress_statistics,
            quant_type=like.quant_type,
            quant_storage=like.quant_storage,
        ).to(value.device)
        return quantised


def _taken_back(packed: Tensor, state: Any) -> FourBit:
    """A weight that bitsandbytes packed anew, in an order that its own ``dequantize_4bit`` does not know.

    It does so on some processors at the first call in evaluation mode, and rounds the scales to bfloat16. Its own way
    back leaves scales that were not quantised in the wrong order, so only that of the codes is used.
    """
    plain = copy.copy(state)
    plain.original_nested, plain.original_storage_type = False, None
    packed, plain = _convert_weight_packed_for_cpu_inverse(packed, plain)
    scales = state.absmax.T.reshape(-1).float()
    return FourBit(packed, scales, state.code, state.quant_type, state.shape, plain.dtype, state.blocksize)


class Int8Format(_Declared):
    """``Linear8bitLt``: a scale for each output."""

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """The sum, quantised again."""
        stored: Any = weight
        if stored.CB is None:  # the layer took them at its first call; what comes back is to bring its own
            stored.CB, stored.SCB = stored.data, module.state.SCB  # type: ignore[union-attr]
        return super().plus(module, weight, delta)

    def operand(self, module: nn.Module) -> Operand:
        """The weight, as our kernels take it."""
        weight: Any = module._parameters["weight"]
        found: Operand = _READ.get(module.state, weight.data, lambda: self._stored(module, weight))
        return found

    def _dequantised(self, module: nn.Module, weight: Any) -> Tensor:
        return self._stored(module, weight).dequantise()

    def _stored(self, module: nn.Module, weight: Any) -> Operand:
        state: Any = module.state
        if weight.data.is_floating_point():
            return Floating(weight.detach())
        scales = weight.SCB if weight.SCB is not None else state.SCB
        entries = {"": weight.data} | ({} if scales is None else {"SCB": scales})
        return Int8.from_tensors(entries, torch.float16, "The weight of this Linear8bitLt")

    def _quantised(self, value: Tensor, like: Any) -> Tensor:
        stored = Int8.quantise(value)
        quantised: Tensor = Int8Params(
            stored.weight, requires_grad=False, has_fp16_weights=False, CB=stored.weight, SCB=stored.scales
        )
        return quantised


weight_format.register(Linear4bit, lambda module: FourBitFormat())
weight_format.register(Linear8bitLt, lambda module: Int8Format())
