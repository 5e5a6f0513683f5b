"""Unheard parts: those that an adapter could be put at and would not do there what it says, told before it is put."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..quant import weight_format
from .module_tree import ModuleTree, input_embedding
from .once import once_a_class
from .part import Part
from .part_code import PartCode, names_in, part_code

_WORDS_OF_LINEAR = frozenset(
    "super forward weight bias T t mT transpose linear matmul functional F nn torch to dtype".split()  # noqa: SIM905
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
            for path in code.read:
                if _is_unheard(tree, code, name, path):
                    found[start + path] = f"{type(module).__name__} reads its weight without calling it."
            if code.goes_around:
                members = (
                    member for child in tree.children(name) if tree.is_list(child) for member in tree.children(child)
                )
                found.update(dict.fromkeys(members, f"{type(module).__name__} calls its forward, around its hooks."))
    return found


def without_gradient(tree: ModuleTree) -> dict[str, str]:
    """Reasons by name for the modules that no gradient comes to, so that adapters there would never be trained."""
    found: dict[str, str] = {}
    for name, module in tree.modules.items():
        reason = _no_gradient(tree, name, part_code(type(module))) if module._modules else ""
        if reason:
            found.update(dict.fromkeys(tree.below(name), f"{type(module).__name__} {reason}"))
    return found


def _no_gradient(tree: ModuleTree, name: str, code: PartCode) -> str:
    if not code.has_gradient:
        return "computes without gradients, so that nothing in it is trained."
    if code.is_reversible and input_embedding(tree.modules[""]) is None:
        return "computes gradients by itself, and only where its input has one, which a frozen embedding has not."
    choosing = [child for child in tree.children(name) if part_code(type(tree.modules[child])).chooses]
    if choosing and name:
        return "gives the numbers of codes, which have no gradient."
    return ""


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


def why_not(part: Part) -> str:
    """The reason in a part itself; empty for nearly all.

    A linear module may compute something else from its weight. Classes that store their weight in another form have a
    ``forward`` of their own, and are linear maps still. A module that looks at all its children would take adapters
    for some of them.
    """
    module_type = type(part.module)
    if part.kind == "linear":
        if _is_linear(module_type) or part.module.weight.dtype not in _PLAIN:
            return ""
        return f"{module_type.__name__} computes more than the linear map of its weight."
    if not part.owns_weight and part.name and part_code(module_type).iterates:
        return f"{module_type.__name__} looks at all its children, and would take adapters for some of them."
    return ""


@once_a_class
def _is_linear(module_type: type[Any]) -> bool:
    """Whether the ``forward`` of a class is that of the class its weight format was made for, or says the same."""
    known: type[Any] = next(ancestor for ancestor in module_type.__mro__ if ancestor in weight_format.registry)
    return module_type.forward is known.forward or names_in(module_type.forward) <= _WORDS_OF_LINEAR


def _is_unheard(tree: ModuleTree, code: PartCode, reader: str, path: str) -> bool:
    """Whether adapters at a module would be left out where a module around it, the ``reader``, reads its weight."""
    name = f"{reader}.{path}" if reader else path
    parent = name.rpartition(".")[0]
    if name not in tree.modules:
        return False
    if isinstance(tree.modules[name], nn.modules.conv._ConvNd):
        return True  # called for a whole sequence and read for its last step, in models that do both
    return path in code.unheard and not (parent != reader and _is_used(tree, name))
