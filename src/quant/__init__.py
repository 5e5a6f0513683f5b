"""Weight formats: what a stored weight is, whatever its bytes."""

from .formats import WeightFormat, has_weight_format, summed, weight_format

__all__ = ["WeightFormat", "has_weight_format", "summed", "weight_format"]
