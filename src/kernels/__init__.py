"""The mathematics of quantised weights.

A weight is a value object over plain tensors; what is computed with it are operations that the dispatcher knows.

codebooks.py          the values that four and eight bits stand for
four_bit.py           a weight in four bits a value
int8.py               a weight in eight bits a value
buffers.py            tensors that a caller brings for a result
fp8_linear.py         a linear map computed in eight bits of floating point
ops.py                schemas and fakes: what each operation is, for compilers too
reference.py, fp8.py  every operation in plain torch: what the others are held against
pieces.py             weights written into a given tensor piece by piece, on every device without kernels
bitsandbytes_cpu.py   bitsandbytes' compiled loop, for whole blocks on a CPU
triton/               a kernel for each operation on a GPU
"""

from .codebooks import CODEBOOKS, DYNAMIC
from .four_bit import FourBit, Nested
from .fp8_linear import fp8_linear, supports_fp8
from .int8 import Int8

__all__ = ["CODEBOOKS", "DYNAMIC", "FourBit", "Int8", "Nested", "fp8_linear", "supports_fp8"]
