"""Quantising a model that is there: its large linear maps are exchanged for maps of four or eight bits."""

from collections.abc import Callable

from torch import nn
from transformers.pytorch_utils import Conv1D

from ..errors import PlanError, UnknownNameError, suggestion
from ..quant import FourBitLinear, Int8Linear, QuantisedLinear
from .anatomy import anatomy
from .attachments import attachments
from .module_tree import ancestors
from .part import Part, base_parameters
from .part_code import part_code

KINDS: dict[str, Callable[[nn.Module], QuantisedLinear]] = {
    "nf4": FourBitLinear.of,
    "fp4": lambda linear: FourBitLinear.of(linear, "fp4"),
    "int8": Int8Linear.of,
}

SMALLEST = 64
"""Features on the smaller side, below which a map is left alone: gates and routers, of which nothing would be saved."""


def quantize(model: nn.Module, kind: str) -> tuple[str, ...]:
    """Exchange the linear maps of the backbone, one after the other.

    What stays as it is: heads, embeddings, norms, convolutions, routers and gates, maps whose weight something else
    shares or speaks of, and maps of a class of their own.

    Args:
        model: The model; changed in place.
        kind: ``nf4``, ``fp4`` (both with doubly quantised scales, in blocks of 64) or ``int8``.

    Returns:
        The names of the maps that were exchanged.

    Raises:
        UnknownNameError: There is no such kind.
        PlanError: Adapters are attached to the model, or nothing in it can be quantised.
    """
    if kind not in KINDS:
        raise UnknownNameError(f'There is no quantisation "{kind}": {suggestion(kind, KINDS)}')
    if attachments(model) is not None:
        raise PlanError("Adapters are attached to this model: quantise it first, and attach them then.")
    tied = _tied(model)
    large = [part for part in anatomy(model).parts.values() if _is_large(part)]
    chosen = [part for part in large if f"{part.name}.weight" not in tied and not _is_read(model, part.name)]
    if not chosen:
        raise PlanError(
            f"Nothing in this {type(model).__name__} can be quantised: it has no linear map in floating point with "
            f"{SMALLEST} features or more on either side."
        )
    for part in chosen:
        parent, _, key = part.name.rpartition(".")
        quantised = KINDS[kind](part.module)
        quantised.training = part.module.training
        model.get_submodule(parent)._modules[key] = quantised
    return tuple(part.name for part in chosen)


def _is_large(part: Part) -> bool:
    """Whether a part is a large plain linear map of the backbone."""
    return (
        type(part.module) in (nn.Linear, Conv1D)
        and "linear" in part.roles
        and not part.unheard
        and min(part.features) >= SMALLEST
        and not part.module._forward_hooks
        and not part.module._forward_pre_hooks
    )


def _is_read(model: nn.Module, name: str) -> bool:
    """Whether the code of a module around it speaks of its weight: T5 casts its hidden states to the dtype of one."""
    around = ((other, name[len(other) + 1 :] if other else name) for other in [*ancestors(name), ""])
    return any(path in part_code(type(model.get_submodule(other))).read for other, path in around)


def _tied(model: nn.Module) -> set[str]:
    """The names of the parameters that more than one place holds."""
    holders: dict[int, list[str]] = {}
    for name, module, key in base_parameters(model):
        holders.setdefault(id(module._parameters[key]), []).append(name)
    return {name for names in holders.values() if len(names) > 1 for name in names}
