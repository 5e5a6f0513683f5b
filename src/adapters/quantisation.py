"""Quantising a model that is there: large linear maps and fused experts are exchanged for four or eight bits."""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import PlanError, UnknownNameError, suggestion
from ..quant import FourBitLinear, Int8Linear, QuantisedLinear
from ..quant.quantised_experts import QuantisedExperts, hold_experts, is_whole
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
    """Exchange the linear maps of the backbone and the parameters of fused experts, one after the other.

    What stays as it is: heads, embeddings, norms, convolutions, routers and gates, maps whose weight something else
    shares or speaks of, maps of a class of their own, and fused experts that are no whole number of blocks each.

    Args:
        model: The model; changed in place.
        kind: ``nf4``, ``fp4`` (both with doubly quantised scales, in blocks of 64) or ``int8``.

    Returns:
        The names of the maps that were exchanged, and of the experts' parameters.

    Raises:
        UnknownNameError: There is no such kind.
        PlanError: Adapters are attached to the model, or nothing in it can be quantised.
    """
    require_kind(kind)
    if attachments(model) is not None:
        raise PlanError("Adapters are attached to this model: quantise it first, and attach them then.")
    maps, experts = quantisable(model), quantisable_experts(model)
    for name in maps:
        exchange(model, name, kind)
    for name in experts:
        exchange_experts(model, name, kind)
    if hasattr(model, "save_pretrained"):
        _mark(model, kind)
    return maps + experts


def _mark(model: nn.Module, kind: str) -> None:
    """Note it on a model of transformers; here, since what does it takes seconds to import where there is none."""
    config = import_module(".quantisation_config", __package__).Quantization(kind)
    import_module(".quantised_model", __package__).mark(model, config)


def require_kind(kind: str) -> None:
    """Refuse a kind that there is not.

    Raises:
        UnknownNameError: With the kinds that there are.
    """
    if kind not in KINDS:
        raise UnknownNameError(f'There is no quantisation "{kind}": {suggestion(kind, KINDS)}')


def quantisable(model: nn.Module) -> tuple[str, ...]:
    """The names of the maps that are exchanged, of a model with weights or on the meta device.

    Raises:
        PlanError: There is none, and no fused experts either.
    """
    tied = _tied(model)
    large = [part for part in anatomy(model).parts.values() if _is_large(part)]
    chosen = [part for part in large if f"{part.name}.weight" not in tied and not _is_read(model, part.name)]
    precise = _kept_precise(model, [part.name for part in chosen])
    names = tuple(part.name for part in chosen if part.name not in precise)
    if not names and not quantisable_experts(model):
        raise PlanError(
            f"Nothing in this {type(model).__name__} can be quantised: it has no linear map in floating point with "
            f"{SMALLEST} features or more on either side."
        )
    return names


def quantisable_experts(model: nn.Module) -> tuple[str, ...]:
    """The names of the parameters of fused experts that are exchanged, as ``quantisable`` names maps."""
    tied = _tied(model)
    parts = [part for part in anatomy(model).parts.values() if part.experts and "expert" in part.roles]
    precise = _kept_precise(model, [part.name for part in parts])
    found = ((part, key) for part in parts for key in part.experts.projections)  # type: ignore[union-attr]
    named = [(f"{part.name}.{key}", part) for part, key in found if part.name not in precise and not part.unheard]
    return tuple(name for name, part in named if name not in tied and _is_plain(part.module, name))


def exchange(model: nn.Module, name: str, kind: str) -> QuantisedLinear:
    """Quantise the map ``name`` of a model; the new module, which is in its place."""
    return place(model, name, KINDS[kind](model.get_submodule(name)))


def place(model: nn.Module, name: str, quantised: QuantisedLinear) -> QuantisedLinear:
    """Put a quantised map where the map ``name`` of a model is."""
    parent, _, key = name.rpartition(".")
    quantised.training = model.get_submodule(name).training
    model.get_submodule(parent)._modules[key] = quantised
    return quantised


def exchange_experts(
    model: nn.Module, name: str, kind: str, value: Tensor | Iterable[Tensor] | None = None
) -> QuantisedExperts:
    """Put a quantised parameter in the place of the experts' parameter ``name``; the new one.

    Args:
        model: The model.
        name: The name of the parameter.
        kind: As for ``quantize``.
        value: What to quantise, shape (experts, ., .) or a matrix for each expert; without it, the parameter's value.
    """
    parent, _, key = name.rpartition(".")
    module = model.get_submodule(parent)
    weight = QuantisedExperts.of(module._parameters[key] if value is None else value, kind)  # type: ignore[arg-type]
    hold_experts(module, key, weight)
    return weight


def _is_plain(module: nn.Module, name: str) -> bool:
    """Whether a parameter of fused experts is one in floating point, a whole number of blocks for each expert."""
    parameter = module._parameters[name.rpartition(".")[2]]
    return type(parameter) is nn.Parameter and parameter.is_floating_point() and is_whole(parameter.shape[1:])


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


def _kept_precise(model: nn.Module, names: Sequence[str]) -> set[str]:
    """Those of the maps that the model declares to need float32 where others do not, by transformers' reading."""
    declared = [*(getattr(model, "_keep_in_fp32_modules", None) or ())]
    declared += getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    if not declared:
        return set()
    from transformers.quantizers.quantizers_utils import should_convert_module  # seconds to import

    return {name for name in names if not should_convert_module(name, declared)}


def _tied(model: nn.Module) -> set[str]:
    """The names of the parameters that more than one place holds, or will hold once transformers has loaded them."""
    holders: dict[int, list[str]] = {}
    for name, module, key in base_parameters(model):
        holders.setdefault(id(module._parameters[key]), []).append(name)
    declared: dict[str, str] = getattr(model, "all_tied_weights_keys", {})
    return {name for names in holders.values() if len(names) > 1 for name in names} | {*declared, *declared.values()}
