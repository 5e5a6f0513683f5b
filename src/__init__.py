"""Inarch: graft any parameter-efficient fine-tuning method onto any Hugging Face model."""

from importlib.metadata import version as _version

__version__ = _version("inarch")

from .adapters import (  # noqa: E402 - a checkpoint names the version above
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
from .api import adapters, attach, load, method, methods, plan  # noqa: E402
from .errors import (  # noqa: E402
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
from .quant import WeightFormat, weight_format  # noqa: E402
from .registry import MethodInfo, PluginWarning, hookimpl  # noqa: E402

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
