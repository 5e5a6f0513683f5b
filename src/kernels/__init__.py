"""The mathematics of quantised weights.

A weight is a value object over plain tensors; what is computed with it are operations that the dispatcher knows.

codebooks.py    the values that four and eight bits stand for
ops.py          schemas and fakes: what each operation is, for compilers too
reference.py    every operation in plain torch
four_bit.py     a weight in four bits a value
int8.py         a weight in eight bits a value
"""

from .codebooks import CODEBOOKS, DYNAMIC
from .four_bit import FourBit, Nested
from .int8 import Int8

__all__ = ["CODEBOOKS", "DYNAMIC", "FourBit", "Int8", "Nested"]
