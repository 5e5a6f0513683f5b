"""LoRA: low-rank adaptation (Hu et al. 2021, arXiv:2106.09685), with DoRA, PiSSA, LoRA+ and rsLoRA as settings."""

from typing import Any

import inarch

from .convolution import ConvolutionLowRank
from .experts import ExpertLowRank
from .low_rank import LowRank
from .method import LoRA

__all__ = ["ConvolutionLowRank", "ExpertLowRank", "LoRA", "LowRank"]


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring LoRA."""
    register(LoRA)
