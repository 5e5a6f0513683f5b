"""The core: the contract of a method, the model's anatomy, the seams, attaching, merging and checkpoints."""

from .adapter import Adapter
from .anatomy import Anatomy, Part, anatomy
from .attention_adapter import AttentionAdapter
from .attention_seam import AttentionSeam
from .checkpoint import Origin
from .experts_adapter import ExpertsAdapter
from .experts_seam import ExpertsSeam
from .input_adapter import InputAdapter
from .method import Method
from .model_adapter import ModelAdapter
from .module_seam import InputSeam, OutputSeam
from .output_adapter import OutputAdapter
from .peft_format import PeftFormat
from .plan import Plan
from .prompt_adapter import PromptAdapter
from .prompt_seam import PromptSeam, prompt_length
from .report import Report
from .site import AttentionShape, ExpertsShape, Site
from .site_adapter import SiteAdapter, WeightDelta
from .step import Step
from .targets import matches_name

__all__ = [
    "Adapter",
    "Anatomy",
    "AttentionAdapter",
    "AttentionSeam",
    "AttentionShape",
    "ExpertsAdapter",
    "ExpertsSeam",
    "ExpertsShape",
    "InputAdapter",
    "InputSeam",
    "Method",
    "ModelAdapter",
    "Origin",
    "OutputAdapter",
    "OutputSeam",
    "Part",
    "PeftFormat",
    "Plan",
    "PromptAdapter",
    "PromptSeam",
    "Report",
    "Site",
    "SiteAdapter",
    "Step",
    "WeightDelta",
    "anatomy",
    "matches_name",
    "prompt_length",
]
