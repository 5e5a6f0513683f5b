"""What peft can do with each of its methods, found by trying on tiny models rather than believed."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import inarch
from inarch import InarchError

from .adapter import PeftAdapter
from .library import PromptLearningConfig

if TYPE_CHECKING:
    from .methods import PeftMethod

WIDTH = 256
"""Features of the tiny models: enough for every default rank and block size of peft's."""


def tried(method: "type[PeftMethod]") -> dict[str, Any]:
    """What a method supports.

        modules     the kinds of modules that it adapts (a prompt: ``model``)
        quantised   the weight formats it adapts besides, of those that are installed
        merge       whether it can be merged into the base weights
        tasks       the tasks of models that it is for, where it is not for any
        needs       the settings that it has no default for
        refuses     what it says of a small language model with its default settings, where it refuses that
    """
    found: dict[str, Any] = {}
    if issubclass(method.config_class, PromptLearningConfig):
        found |= {"modules": ["model"], "tasks": _tasks(method)}
    else:
        found |= {"modules": _adapted(method, MODULES), "quantised": _adapted(method, QUANTISED)}
    ...
    return found
