"""Coverage: how much of a backbone's matrices an adapter reaches."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from ..quant import is_packed
from ..quant.quantised_experts import logical_shape
from .anatomy import Anatomy
from .part import Part, base_parameters

_APART = frozenset({"head", "embedding", "norm"})


@dataclass(frozen=True)
class Coverage:
    """The matrices of a backbone and what an adapter reaches of them.

    Attributes:
        share: Share of their weights that lie in adapted modules or are trained themselves.
        unreached: The modules that own the others; for a matrix in no known kind of module, the parameter.
    """

    share: float
    unreached: tuple[str, ...]


def coverage(model: nn.Module, found: Anatomy, sites: Collection[str], trained: Collection[str]) -> Coverage:
    """The coverage of an adapter at ``sites`` that trains the base parameters ``trained`` too.

    A parameter counts as a matrix with two axes or more, but for embeddings and what is one by another name: the
    embedding of patches, and tables of one row, such as a class token or learned positions. A tied one counts once.
    """
    owners = {name: part for name, part in found.parts.items() if part.owns_weight}
    whole = covered = 0
    unreached: dict[str, None] = {}
    seen: set[int] = set()
    for name, module, key in base_parameters(model):
        owner = name[: -len(key) - 1]
        part = owners.get(owner)
        parameter = module._parameters[key]
        if parameter is None or id(parameter) in seen or _is_apart(name, part, found):
            continue
        seen.add(id(parameter))
        size = 0 if _is_packed(part) else _matrix_size(parameter, key, part)
        whole += size
        if name in trained or (owner in sites and part is not None and _is_adapted(part, key)):
            covered += size
        elif size:
            unreached[owner if part else name] = None
    for name, part in owners.items():
        if _is_packed(part) and part.roles.isdisjoint(_APART):
            size = math.prod(part.features)
            whole += size
            if name in sites:
                covered += size
            else:
                unreached[name] = None
    return Coverage(covered / whole if whole else 0.0, tuple(unreached))


def _is_packed(part: Part | None) -> bool:
    return part is not None and part.kind == "linear" and is_packed(part.module)


def _is_apart(name: str, part: Part | None, found: Anatomy) -> bool:
    """Whether a parameter is none of the backbone's maps: of the head, an embedding, or a norm."""
    if part is None:
        return name in found.head
    return name in found.head or not part.roles.isdisjoint(_APART) or _embeds_patches(part.module)


def _embeds_patches(module: nn.Module) -> bool:
    """Whether it is a convolution over patches that do not overlap."""
    return (
        isinstance(module, nn.modules.conv._ConvNd)
        and module.stride == module.kernel_size
        and any(size > 1 for size in module.stride)
    )


def _matrix_size(parameter: nn.Parameter, key: str, part: Part | None) -> int:
    """Number of the weights of a matrix, however it is packed; 0 for what is none."""
    if part is not None and part.kind == "linear" and key == "weight":
        return math.prod(part.features)
    if part is not None and part.experts:
        sizes = logical_shape(parameter)
        return math.prod(sizes) if len(sizes) == 3 else 0  # their biases have two axes
    is_one_row = parameter.shape[:1] == (1,)
    return 0 if is_one_row or parameter.dim() < 2 else parameter.numel()


def _is_adapted(part: Part, key: str) -> bool:
    """Whether an adapter at ``part`` adapts its parameter ``key``."""
    return key in part.experts.projections if part.experts else key == "weight"
