"""Unheard parts: those that an adapter could be put at and would not do there what it says, told before it is put."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import nn

from ..quant import weight_format
from .part_code import names_in, part_code

_WORDS_OF_LINEAR = frozenset(
    {"weight", "bias", "T", "t", "mT", "transpose", "linear", "matmul", "functional", "F", "nn", "torch", "to", "dtype"}
)
"""What a ``forward`` speaks of that is nothing but the linear map of its weight."""

_PLAIN = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})


def unheard_modules(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """Reasons by name for the modules whose weight is read by a module around them that never calls them."""
    return {
        f"{name}.{path}" if name else path: f"{type(module).__name__} reads its weight without calling it."
        for name, module in modules.items()
        if module._modules
        for path in part_code(type(module)).unheard
        if not _is_called(module, path)
    }


def more_than_linear(module: nn.Module) -> str:
    """The reason for a linear module whose class computes something else from its weight; empty for all others.

    Classes that store their weight in another form have a ``forward`` of their own, and are still linear maps.
    """
    if _is_linear(type(module)) or module.weight.dtype not in _PLAIN:  # type: ignore[union-attr]
        return ""
    return f"{type(module).__name__} computes more than the linear map of its weight."


@cache
def _is_linear(module_type: type[nn.Module]) -> bool:
    """Whether the ``forward`` of a class is that of the class its weight format was made for, or says the same."""
    known = next(ancestor for ancestor in module_type.__mro__ if ancestor in weight_format.registry)
    return module_type.forward is known.forward or names_in(module_type.forward) <= _WORDS_OF_LINEAR


def _is_called(module: nn.Module, path: str) -> bool:
    """Whether the module that owns ``path`` calls it, where another one further up reads its weight."""
    parent, _, key = path.rpartition(".")
    if not parent:
        return False
    try:
        owner = module.get_submodule(parent)
    except AttributeError:
        return False
    return key in part_code(type(owner)).used
