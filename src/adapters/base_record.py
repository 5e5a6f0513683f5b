"""The base record: enough about a base model to know it again when an adapter is loaded onto it."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import WrongBaseError
from ..quant import is_floating, is_packed, weight_format
from ..quant.quantised_linear import QuantisedWeight
from .anatomy import Anatomy, anatomy
from .attachments import attachments
from .base_sample import may_be_rounded, may_have_been, rounded_values, values
from .part import Part, base_parameters

SAMPLED_MATRICES = 12
SAMPLED_VECTORS = 4
SAMPLED_QUANTISED = 4

_Named = TypeVar("_Named")


def base_record(model: nn.Module, found: Anatomy, trained: Collection[str]) -> dict[str, Any]:
    """What identifies the base model of an adapter, as JSON types.

    ``structure`` is a SHA-256 over the names and logical sizes of all parts, the same for every precision and
    quantisation. ``sample`` holds a few values of evenly spaced floating-point parameters, which tell two models of one
    architecture apart for the price of reading 64 numbers; ``quantised`` holds some of quantised weights with the
    rounding they went through. So an adapter trained on a base in floating point is known to fit the same base
    quantised, and the other way round.

    Args:
        model: The base model; adapters attached to it do not count.
        found: Its anatomy.
        trained: Names of the parameters that the adapter trains itself: they are in the checkpoint, so not sampled.
    """
    config = getattr(model, "config", None)
    return {
        "class": type(model).__name__,
        "name": str(getattr(config, "_name_or_path", "") or ""),
        "structure": _structure(found, trained),
        "sample": _sample(model, trained),
        "quantised": _quantised_sample(model, trained),
    }


def require_same_base(model: nn.Module, record: Mapping[str, Any], trained: Collection[str]) -> None:
    """Refuse a base model that is not the one of the record.

    Raises:
        WrongBaseError: Its structure or its weights differ.
    """
    origin = f"{record['class']} {record['name']}".strip()
    found = anatomy(model)
    if _structure(found, trained) != record["structure"]:
        raise WrongBaseError(
            f"The adapter was trained on another base model: {origin}, whose parts are not those of this "
            f"{type(model).__name__}. Load it onto that model."
        )
    held = _held(model) | _packed(found)
    sampled = record["sample"] | record.get("quantised", {})
    differing = [name for name, old in record["sample"].items() if not _same_values(held.get(name), old)]
    differing += [name for name, old in record.get("quantised", {}).items() if not _same_rounded(held.get(name), old)]
    if differing:
        raise WrongBaseError(
            f"The adapter was trained on other weights: this {type(model).__name__} has the structure of {origin}, but "
            f"{differing[0]} and {len(differing) - 1} more of {len(sampled)} sampled parameters differ. Load "
            "it onto the base it was trained on, or pass check_base=False to graft it onto this one."
        )


def _structure(found: Anatomy, trained: Collection[str]) -> str:
    themselves = {name.removesuffix(".weight") for name in trained}
    sizes = [(name, *_logical_size(part)) for name, part in _owners(found) if name not in themselves]
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()


def _owners(found: Anatomy) -> list[tuple[str, Part]]:
    return [(name, part) for name, part in found.parts.items() if part.owns_weight]


def _logical_size(part: Part) -> tuple[int, ...]:
    if part.kind == "linear":
        return weight_format(part.module).features(part.module)
    if part.experts:
        return tuple(size for shape in part.experts.projections.values() for size in (part.experts.count, *shape))
    weight = part.module._parameters.get("weight")
    return part.features if weight is None else tuple(weight.shape)  # a parametrised one is made anew in each pass


def _held(model: nn.Module) -> dict[str, nn.Parameter | None]:
    """The base's own parameters by name, also where an adapter shows another one in its place."""
    found = attachments(model)
    covered = {name: overlay.base for name, overlay in found.overlays.items()} if found else {}
    return {name: covered.get(name, module._parameters[key]) for name, module, key in base_parameters(model)}


def _packed(found: Anatomy) -> dict[str, Tensor | None]:
    """What linear maps hold in the place of a parameter ``weight``, and their biases, by the names of those."""
    packed: dict[str, Tensor | None] = {}
    for name, part in found.parts.items():
        if part.kind == "linear" and is_packed(part.module):
            packed[f"{name}.weight"] = getattr(part.module, weight_format(part.module).tensor)
            packed[f"{name}.bias"] = getattr(part.module, "bias", None)
    return packed


def _sample(model: nn.Module, trained: Collection[str]) -> dict[str, dict[str, Any]]:
    floating = [(name, parameter) for name, parameter in _frozen(model, trained) if _can_sample(parameter)]
    # Models of one architecture may share their vectors: biases of zeros, norms of ones.
    matrices = [(name, parameter) for name, parameter in floating if parameter.dim() > 1]
    vectors = [(name, parameter) for name, parameter in floating if parameter.dim() <= 1]
    return {
        name: {"dtype": str(parameter.dtype), "values": values(parameter)}
        for name, parameter in _spread(matrices, SAMPLED_MATRICES) + _spread(vectors, SAMPLED_VECTORS)
    }


def _quantised_sample(model: nn.Module, trained: Collection[str]) -> dict[str, dict[str, Any]]:
    found = [(name, weight) for name, weight in _frozen(model, trained) if isinstance(weight, QuantisedWeight)]
    return {name: rounded_values(weight) for name, weight in _spread(found, SAMPLED_QUANTISED) if not weight.is_meta}


def _spread(found: list[_Named], count: int) -> list[_Named]:
    """So many of them, evenly spaced."""
    return found[:: max(1, len(found) // count)][:count]


def _frozen(model: nn.Module, trained: Collection[str]) -> list[tuple[str, nn.Parameter]]:
    held = _held(model)
    themselves = {id(held[name]) for name in trained}  # by identity, since they may be tied to other names
    return [
        (name, parameter)
        for name, parameter in held.items()
        if parameter is not None and id(parameter) not in themselves
    ]


def _can_sample(parameter: Tensor) -> bool:
    return is_floating(parameter) and not parameter.is_meta


def _same_values(parameter: Tensor | None, old: Mapping[str, Any]) -> bool:
    """Equal to the bit in the same dtype; within the rounding of bfloat16 (2^-8) in another, or of a quantisation."""
    if parameter is None:
        return False
    if isinstance(parameter, QuantisedWeight) and not parameter.is_meta:
        return may_be_rounded(parameter, old["values"])
    if not _can_sample(parameter):
        return True
    new = torch.tensor(values(parameter), dtype=torch.float64)
    then = torch.tensor(old["values"], dtype=torch.float64)
    if new.shape != then.shape:
        return False
    if str(parameter.dtype) == old["dtype"]:
        return torch.equal(new, then)
    return torch.allclose(new, then, rtol=2**-7, atol=2**-14)


def _same_rounded(parameter: Tensor | None, old: Mapping[str, Any]) -> bool:
    """Within the rounding; a form that cannot be read here, such as that of another library, is not held against it."""
    if parameter is None or parameter.is_meta:
        return parameter is not None
    readable = isinstance(parameter, QuantisedWeight) or is_floating(parameter)
    return not readable or may_have_been(parameter, old)
