"""bitsandbytes' compiled loop over four bits on a CPU, which writes into a given tensor as fast as memory takes it.

Its result is the reference's to the bit (in half precision that is float32 rounded once), with two exceptions that
make no difference to a model: the FP4 code for -0 gives 0, and on processors with AVX512-BF16 a bfloat16 below the
smallest normal number, 2^-126, becomes 0.

Its public operation takes whole rows for whole blocks, so that a weight whose rows share blocks comes out wrong, and it
allocates its result, which takes longer than computing it. Here the blocks themselves are the rows in that case.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .codebooks import CODEBOOKS

KNOWN = ((0, 49), (0, 51))
"""From which release on, and before which, the entry points are known to take what they are given here."""

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

_VECTOR = 32
"""Blocks are whole vectors of every instruction set when they are multiples of this."""


def dequantise_4bit(packed: Tensor, scales: Tensor, code: Tensor, blocksize: int, out: Tensor) -> int:
    """Write the whole blocks of a flattened weight into ``out``, if there is a loop for them.

    Args:
        packed: uint8, two values a byte, flattened.
        scales: float32, one a block.
        code: The sixteen values.
        blocksize: Values that share a scale.
        out: Contiguous.

    Returns:
        How many values were written: all but those of an unfinished last block, or none.
    """
    number = out.numel() // blocksize * blocksize
    if out.device.type != "cpu" or blocksize % _VECTOR or not number:
        return 0
    loop = _loop(_kind(code), out.dtype)
    if loop is None:
        return 0
    columns = blocksize if out.shape[-1] % blocksize else out.shape[-1]
    packed, scales = packed.contiguous(), scales.contiguous()
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (packed, scales, out)]
    loop(*pointers, *map(ctypes.c_longlong, (blocksize, number // columns, columns)))
    return number


def _kind(code: Tensor) -> str:
    """The name of the values, which the loop has built in; empty for others."""
    return next((kind for kind, known in CODEBOOKS.items() if torch.equal(code, known)), "")


@cache
def _loop(kind: str, dtype: torch.dtype) -> Callable[..., Any] | None:
    """The entry point for one kind of four bits and one dtype; none where there is none.

    bitsandbytes is imported here, at the first weight that is dequantised on a CPU.
    """
    if not kind or dtype not in _NAMES:
        return None
    try:
        import bitsandbytes
        from bitsandbytes.cextension import lib
    except ImportError:
        return None
    release = tuple(int(part) for part in bitsandbytes.__version__.split(".")[:2])
    loop: Any = getattr(lib, f"cdequantize_blockwise_cpu_{kind}_{_NAMES[dtype]}")
    # Where the compiled library is missing, what comes back is a function that raises.
    return loop if KNOWN[0] <= release < KNOWN[1] and hasattr(loop, "argtypes") else None
