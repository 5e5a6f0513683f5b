"""A linear map computed in eight bits of floating point, which GPUs of today do faster than in sixteen."""

import torch
from torch import Tensor

from ..errors import FormatError
from . import ops

MULTIPLE = 16
"""What the sizes of a weight are multiples of, for a GPU's product in eight bits."""


def supports_fp8(device: torch.device) -> bool:
    """Whether products of e4m3 are computed in hardware there: on NVIDIA's GPUs from compute capability 8.9 on."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= ops.OLDEST_WITH_FP8


def fp8_linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """``y = x W^T`` with both in e4m3: x is quantised by row, and the products are added in float32.

    Rounding to e4m3 changes a value by 2^-4 of it at most, or by 2^-10 of its scale if that is more; the sum of the
    changes of x and W is the error of a product, and no gradient passes. On a CPU it is plain torch, for comparison.

    Args:
        x: Shape (..., in_features).
        weight: ``torch.float8_e4m3fn``, shape (out_features, in_features), as ``FourBit.to_fp8`` gives it.
        scale: float32, shape (out_features,).

    Returns:
        Shape (..., out_features), in the dtype of ``x``; on a GPU rounded to bfloat16 before.

    Raises:
        FormatError: The GPU does not compute in e4m3, or not with a weight of this size.
    """
    outputs, inputs = weight.shape
    _require_support(x.device, outputs, inputs)
    rows, of_rows = ops.quantise_fp8(x.detach().reshape(-1, inputs))
    if x.device.type == "cpu":
        y = (rows.float() @ weight.float().T) * of_rows.unsqueeze(1) * scale
    else:
        y = torch._scaled_mm(
            rows, weight.T, scale_a=of_rows.unsqueeze(1), scale_b=scale.unsqueeze(0), out_dtype=torch.bfloat16
        )
    return y.to(x.dtype).view(*x.shape[:-1], outputs)


def _require_support(device: torch.device, outputs: int, inputs: int) -> None:
    if device.type == "cpu":
        return
    if not supports_fp8(device):
        raise FormatError(
            f"{device} does not compute in float8_e4m3fn: that takes an NVIDIA GPU of compute capability 8.9 or later. "
            "Ask supports_fp8 first, and dequantise the weight where it says no."
        )
    if outputs % MULTIPLE or inputs % MULTIPLE:
        raise FormatError(
            f"A weight of shape {(outputs, inputs)} cannot be multiplied in float8_e4m3fn on {device}: both sizes must "
            f"be multiples of {MULTIPLE}. Dequantise it instead."
        )
