"""The core: the contract of a method, the model's anatomy, the seams, attaching, merging and checkpoints."""

from .adapter import Adapter
from .anatomy import Anatomy, Part, anatomy
from .checkpoint import Origin
from .method import Method
from .output_adapter import OutputAdapter, WeightDelta
from .peft_format import PeftFormat
from .plan import Plan
from .report import Report
from .site import Site
from .targets import matches_name

__all__ = [
    "Adapter",
    "Anatomy",
    "Method",
    "Origin",
    "OutputAdapter",
    "Part",
    "PeftFormat",
    "Plan",
    "Report",
    "Site",
    "WeightDelta",
    "anatomy",
    "matches_name",
]
