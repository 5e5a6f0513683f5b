"""Eight bits to floating point: ``weight * scale of its row / 127``."""

import triton
import triton.language as tl
from torch import Tensor

VALUES = 2048
"""Values for each program: 2 KiB read and 4 KiB written in bfloat16."""


@triton.jit
def dequantise_int8_kernel(weight, scales, out, number, columns, values_each: tl.constexpr):
    """``out[i] = weight[i] * (scales[i // columns] / 127)``."""
    place = tl.program_id(0).to(tl.int64) * values_each + tl.arange(0, values_each)
    mask = place < number
    step = tl.div_rn(tl.load(scales + place // columns, mask=mask, other=0.0), 127.0)
    value = tl.load(weight + place, mask=mask, other=0).to(tl.float32) * step
    tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)


def dequantise_int8_into(weight: Tensor, scales: Tensor, out: Tensor) -> None:
    """As ``reference.dequantise_int8``."""
    number = out.numel()
    dequantise_int8_kernel[(triton.cdiv(number, VALUES),)](
        weight.contiguous(), scales, out, number, weight.shape[1], values_each=VALUES
    )
