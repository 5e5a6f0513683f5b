"""Weight formats: what a stored weight is, whatever its bytes."""

from .formats import WeightFormat, has_weight_format, summed, weight_format
from .quantised_linear import FourBitLinear, Int8Linear, QuantisedLinear

__all__ = [
    "FourBitLinear",
    "Int8Linear",
    "QuantisedLinear",
    "WeightFormat",
    "has_weight_format",
    "summed",
    "weight_format",
]
