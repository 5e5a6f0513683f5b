"""Blocks: the repeated units that a backbone is a stack of, found by the lists that hold them."""

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from .part import Part

LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
"""Modules whose children are called or iterated over one by one, so that a slot would be taken for one of them."""

_MATRICES = frozenset({"linear", "convolution", "experts"})


def block_names(modules: Mapping[str, nn.Module], parts: Mapping[str, Part], attentions: Iterable[str]) -> list[str]:
    """Names of the repeated blocks: the members of the lists around attention, and of lists of layers without any.

    Args:
        modules: Every module by name.
        parts: The parts that own weights.
        attentions: Names of the modules that compute attention.
    """
    lists = _around_attention(modules, list(attentions))
    lists += [name for name in _of_layers(modules, parts) if not _is_inside(name, lists) and not _holds(name, lists)]
    members = [f"{parent}.{key}" for parent in lists for key in modules[parent]._modules]
    return [name for name in members if name in modules]


def _around_attention(modules: Mapping[str, nn.Module], attentions: Sequence[str]) -> list[str]:
    """For each attention the nearest list whose members all hold one, or else the outermost list around it.

    A list with members of other kinds is either a stack of unlike blocks or what a block itself is made of: the
    sublayers of T5. It is the former if no list stands around it.
    """
    chosen: dict[str, None] = {}
    holding = {ancestor for name in attentions for ancestor in ancestors(name)}
    for name in attentions:
        lists = [parent for parent in ancestors(name)[1:] if isinstance(modules[parent], LISTS)]
        for parent in lists:
            if parent is lists[-1] or all(f"{parent}.{key}" in holding for key in modules[parent]._modules):
                chosen[parent] = None
                break
    return list(chosen)


def _of_layers(modules: Mapping[str, nn.Module], parts: Mapping[str, Part]) -> list[str]:
    """The innermost lists of which a member holds a norm and two maps: layers of convolutions, mixers, recurrences."""
    kinds: dict[str, list[str]] = {}
    for name, part in parts.items():
        if "head" not in part.roles:
            for ancestor in ancestors(name):
                kinds.setdefault(ancestor, []).append(part.kind)
    layers = [name for name, held in kinds.items() if "norm" in held and sum(kind in _MATRICES for kind in held) > 1]
    lists = {parent: None for name in layers if isinstance(modules[parent := _parent(name)], LISTS)}
    return [name for name in lists if not _holds(name, lists)]


def _is_inside(name: str, others: Iterable[str]) -> bool:
    return any(name.startswith(f"{other}.") or name == other for other in others)


def _holds(name: str, others: Iterable[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in others)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def ancestors(name: str) -> list[str]:
    """The names of the modules around ``name``, the nearest first, the model itself left out."""
    words = name.split(".")
    return [".".join(words[:length]) for length in range(len(words) - 1, 0, -1)]
