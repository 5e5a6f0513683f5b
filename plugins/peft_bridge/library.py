"""peft, imported and called without its noise."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():
    # transformers and peft warn of one another's deprecations when they are imported.
    warnings.simplefilter("ignore")
    import peft
    from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
    from peft.config import PromptLearningConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

__all__ = [
    "BaseTuner",
    "BaseTunerLayer",
    "ModulesToSaveWrapper",
    "PromptLearningConfig",
    "configs",
    "own_random",
    "peft",
    "quiet",
    "said",
    "tasks",
    "tuners",
]


def configs() -> dict[str, Any]:
    """The configurations of the installed peft by their types."""
    return {str(key.value): config for key, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


def tuners() -> dict[str, Any]:
    """The tuners of the installed peft, or the prompt encoders, by their types."""
    return {str(key.value): tuner for key, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}


def tasks() -> list[str]:
    """The tasks of models that peft has a model of its own for."""
    return [str(getattr(task, "value", task)) for task in MODEL_TYPE_TO_PEFT_MODEL_MAPPING]


@contextmanager
def own_random(model: nn.Module) -> Iterator[None]:
    """A ``with`` block that uses up no random numbers, on the devices of ``model`` either."""
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warnings that peft's own code gives inside a ``with`` block; others go on as they are.

    They tell of choices that peft makes by itself (the layout of transformers' Conv1D weights), and of what it uses
    that is deprecated in transformers.
    Those of a setting that matches nothing (``RuntimeWarning``) are errors: nobody would see that it has no effect.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"peft\.")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
        for noise in ("Initializing zero-element tensors", ".*copying from a non-meta parameter"):
            warnings.filterwarnings("ignore", message=noise)  # of what peft makes in a copy without weights
        warnings.filterwarnings("error", category=RuntimeWarning, module=r"peft\.")
        yield


def said(error: BaseException) -> str:
    """What an error of peft's says, in one line."""
    return ": ".join(part for part in (type(error).__name__, " ".join(str(error).split()).rstrip(".")) if part)
