"""Blocks over their largest magnitude, and the nearest of some values: what quantisation is made of."""

import triton
import triton.language as tl


@triton.jit
def scaled_blocks(values, place, number, smallest):
    """A tile with a block in each row over the largest magnitude of each, and those magnitudes; float32."""
    loaded = tl.load(values + place, mask=place < number, other=0.0).to(tl.float32)
    largest = tl.max(tl.abs(loaded), axis=1)
    inverse = tl.div_rn(1.0, tl.maximum(largest, smallest))
    return tl.clamp(loaded * inverse[:, None], -1.0, 1.0), largest


@triton.jit
def nearest(values, middles, bits: tl.constexpr):
    """How many of the 2^bits - 1 ascending ``middles`` lie below each value, by bisection."""
    below = (values * 0).to(tl.int32)
    for bit in tl.static_range(bits):
        half = 1 << (bits - 1 - bit)
        below += tl.where(values > tl.load(middles + below + (half - 1)), half, 0)
    return below
