"""Weight formats: what a stored weight is, whatever its bytes."""

from .formats import WeightFormat, summed, weight_format

__all__ = ["WeightFormat", "summed", "weight_format"]
