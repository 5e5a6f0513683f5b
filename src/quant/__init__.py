"""Weight formats: what a stored weight is, whatever its bytes."""

from .factors import Factors
from .floating_linear import FloatingLinear
from .formats import WeightFormat, has_weight_format, is_floating, is_packed, is_plain, summed, weight_format
from .quantised_linear import FourBitLinear, Int8Linear, QuantisedLinear

__all__ = [
    "Factors",
    "FloatingLinear",
    "FourBitLinear",
    "Int8Linear",
    "QuantisedLinear",
    "WeightFormat",
    "has_weight_format",
    "is_floating",
    "is_packed",
    "is_plain",
    "summed",
    "weight_format",
]
