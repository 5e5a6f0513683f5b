"""The base record: enough about a base model to know it again when an adapter is loaded onto it."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import WrongBaseError
from ..quant import weight_format
from .anatomy import Anatomy, anatomy
from .attachments import attachments
from .part import Part, base_parameters

SAMPLED_PARAMETERS = 16
SAMPLED_VALUES = 4


def base_record(model: nn.Module, found: Anatomy, trained: Collection[str]) -> dict[str, Any]:
    """What identifies the base model of an adapter, as JSON types.

    ``structure`` is a SHA-256 over the names and logical sizes of all parts, the same for every precision and
    quantisation. ``sample`` holds a few values of evenly spaced floating-point parameters, which tell two models of one
    architecture apart for the price of reading 64 numbers.

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
    }


def require_same_base(model: nn.Module, record: Mapping[str, Any], trained: Collection[str]) -> None:
    """Refuse a base model that is not the one of the record.

    Raises:
        WrongBaseError: Its structure or its weights differ.
    """
    origin = f"{record['class']} {record['name']}".strip()
    if _structure(anatomy(model), trained) != record["structure"]:
        raise WrongBaseError(
            f"The adapter was trained on another base model: {origin}, whose parts are not those of this "
            f"{type(model).__name__}. Load it onto that model."
        )
    held = _held(model)
    differing = [name for name, old in record["sample"].items() if not _same_values(held.get(name), old)]
    if differing:
        raise WrongBaseError(
            f"The adapter was trained on other weights: this {type(model).__name__} has the structure of {origin}, but "
            f"{differing[0]} and {len(differing) - 1} more of {len(record['sample'])} sampled parameters differ. Load "
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


def _sample(model: nn.Module, trained: Collection[str]) -> dict[str, dict[str, Any]]:
    held = _held(model)
    themselves = {id(held[name]) for name in trained}  # by identity, since they may be tied to other names
    frozen = [(name, parameter) for name, parameter in held.items() if id(parameter) not in themselves]
    floating = [(name, parameter) for name, parameter in frozen if _can_sample(parameter)]
    step = max(1, len(floating) // SAMPLED_PARAMETERS)
    return {
        name: {"dtype": str(parameter.dtype), "values": _values(parameter)}
        for name, parameter in floating[::step][:SAMPLED_PARAMETERS]
        if parameter is not None
    }


def _can_sample(parameter: nn.Parameter | None) -> bool:
    return parameter is not None and parameter.is_floating_point() and not parameter.is_meta


def _values(parameter: nn.Parameter) -> list[float]:
    flat = parameter.detach().reshape(-1)
    places = torch.linspace(0, flat.numel() - 1, min(SAMPLED_VALUES, flat.numel())).long()
    return [float(value) for value in flat[places.to(flat.device)].double().tolist()]


def _same_values(parameter: nn.Parameter | None, old: Mapping[str, Any]) -> bool:
    """Equal to the bit in the same dtype; within the rounding of bfloat16 (2^-8) in another; unread when quantised."""
    if parameter is None or not _can_sample(parameter):
        return parameter is not None
    new = torch.tensor(_values(parameter), dtype=torch.float64)
    then = torch.tensor(old["values"], dtype=torch.float64)
    if new.shape != then.shape:
        return False
    if str(parameter.dtype) == old["dtype"]:
        return torch.equal(new, then)
    return torch.allclose(new, then, rtol=2**-7, atol=2**-14)
