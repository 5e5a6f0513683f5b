"""Inarch: graft any parameter-efficient fine-tuning method onto any Hugging Face model."""

from importlib.metadata import version as _version

from .adapters import (
    Adapter,
    Method,
    OutputAdapter,
    PeftFormat,
    Plan,
    Report,
    Site,
    WeightDelta,
    matches_name,
)
from .api import adapters, attach, load, method, methods, plan
from .errors import (
    CheckpointError,
    CheckpointKeyError,
    ConfigError,
    DataError,
    DetachedError,
    DuplicateNameError,
    FormatError,
    InarchError,
    InvalidPluginError,
    MergeError,
    MissingPluginError,
    ModelError,
    PlanError,
    RegistryError,
    TargetError,
    TrainingError,
    UnknownNameError,
    WrongBaseError,
)
from .quant import WeightFormat, weight_format
from .registry import MethodInfo, PluginWarning, hookimpl

__version__ = _version("inarch")

__all__ = [
    "Adapter",
    "CheckpointError",
    "CheckpointKeyError",
    "ConfigError",
    "DataError",
    "DetachedError",
    "DuplicateNameError",
    "FormatError",
    "InarchError",
    "InvalidPluginError",
    "MergeError",
    "Method",
    "MethodInfo",
    "MissingPluginError",
    "ModelError",
    "OutputAdapter",
    "PeftFormat",
    "Plan",
    "PlanError",
    "PluginWarning",
    "RegistryError",
    "Report",
    "Site",
    "TargetError",
    "TrainingError",
    "UnknownNameError",
    "WeightDelta",
    "WeightFormat",
    "WrongBaseError",
    "__version__",
    "adapters",
    "attach",
    "hookimpl",
    "load",
    "matches_name",
    "method",
    "methods",
    "plan",
    "weight_format",
]
