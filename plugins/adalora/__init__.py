"""AdaLoRA: adaptive budget allocation among low-rank updates (Zhang et al. 2023, arXiv:2303.10512)."""

from typing import Any

import inarch

from .method import AdaLoRA
from .triplets import ConvolutionTriplets, Triplets

__all__ = ["AdaLoRA", "ConvolutionTriplets", "Triplets"]


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring AdaLoRA."""
    register(AdaLoRA)
