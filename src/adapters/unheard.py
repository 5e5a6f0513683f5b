"""Unheard parts: those that an adapter could be put at and would not do there what it says, told before it is put."""

from collections.abc import Iterable
from functools import cache

import torch
from torch import nn

from ..quant import weight_format
from .module_tree import ModuleTree
from .part_code import names_in, part_code

_WORDS_OF_LINEAR = frozenset(
    {"weight", "bias", "T", "t", "mT", "transpose", "linear", "matmul", "functional", "F", "nn", "torch", "to", "dtype"}
)
"""What a ``forward`` speaks of that is nothing but the linear map of its weight."""

_PLAIN = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})


def unheard_modules(tree: ModuleTree) -> dict[str, str]:
    """Reasons by name for the modules that the model never calls, though it reads their weights."""
    found: dict[str, str] = {}
    for name, module in tree.modules.items():
        if module._modules:
            code = part_code(type(module))
            start = f"{name}." if name else ""
            for path in code.unheard:
                if not _is_called(tree, start + path, name):
                    found[start + path] = f"{type(module).__name__} reads its weight without calling it."
            if code.goes_around:
                members = (
                    member for child in tree.children(name) if tree.is_list(child) for member in tree.children(child)
                )
                found.update(dict.fromkeys(members, f"{type(module).__name__} calls its forward, around its hooks."))
    return found


def unused_copies(tree: ModuleTree, embeddings: Iterable[str]) -> dict[str, str]:
    """Reasons by name for the embeddings that only hold a weight for others, which are the ones that are called."""
    holders: dict[int, list[str]] = {}
    for name in embeddings:
        holders.setdefault(id(tree.modules[name]._parameters.get("weight")), []).append(name)
    tied = (name for names in holders.values() if len(names) > 1 for name in names)
    return {
        name: "Other embeddings share its weight and are called instead." for name in tied if not _is_used(tree, name)
    }


def _is_used(tree: ModuleTree, name: str) -> bool:
    """Whether the module around it may call it."""
    parent, _, key = name.rpartition(".")
    return tree.is_list(parent) or key in part_code(type(tree.modules[parent])).used


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


def _is_called(tree: ModuleTree, name: str, reader: str) -> bool:
    """Whether the module right around it calls it, where another one further up reads its weight."""
    parent = name.rpartition(".")[0]
    return parent != reader and parent in tree.modules and _is_used(tree, name)
