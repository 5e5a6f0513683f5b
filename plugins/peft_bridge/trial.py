"""Trials: one layer, adapted by peft, on its own, to see whether what comes out is right."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inarch import PlanError, Site

from .injection import Injection
from .library import own_random, said

PART = "part"
"""Name of the layer in its box."""
TOLERANCE = 0.1
"""How far outputs on a quantised weight may be from those on the same weight in floating point, relative to the change
and the outputs: the formats stay far below, and a weight that is read as something else is far above."""


class Box(nn.Module):
    """A model of one layer.

    Args:
        layer: The layer.
        origin: The model it comes from, whose marks of quantisation peft looks for.
    """

    def __init__(self, layer: nn.Module, origin: nn.Module | None = None) -> None:
        super().__init__()
        self.part = layer
        for mark in ("is_loaded_in_8bit", "is_loaded_in_4bit", "is_quantized", "quantization_method"):
            if hasattr(origin, mark):
                setattr(self, mark, getattr(origin, mark))

    def forward(self, *args: Any) -> Any:
        """What the layer makes of it."""
        return self.part(*args)


def require_right_on_quantised(
    method: str, model: nn.Module, places: Sequence[Site], configure: Callable[[], Any]
) -> None:
    """Refuse quantised weights that peft would read as if they were none, or could not compute with.

    One layer of each type is tried beside its dequantised twin.

    Raises:
        PlanError: The outputs differ, or there are none.
    """
    types = {type(place.module): place for place in places if _is_quantised(place.module)}
    for kind, place in types.items():
        dtype = next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
        with own_random(model):
            reason = _wrong(copy.deepcopy(place.module), place.in_features, dtype, model, configure)
        if reason:
            raise PlanError(
                f"{method} cannot be attached to {place.name}, a quantised {kind.__name__}: {reason}. Load the model "
                "without quantisation, or choose a method that takes it as it is, such as lora."
            )


def _is_quantised(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    return weight is not None and not weight.is_floating_point()


def _wrong(layer: nn.Module, features: int, dtype: torch.dtype, origin: nn.Module, configure: Callable[[], Any]) -> str:
    """What is wrong with the adapted ``layer``, held against its adapted twin; empty if nothing is."""
    twin = _twin(layer, features, dtype)
    x = torch.randn(2, 3, features, generator=torch.Generator().manual_seed(0)).to(twin.weight.device)
    with torch.no_grad():
        base = twin(x)
    try:
        expected = _adapted(Box(twin), configure, x)
        found = _adapted(Box(layer, origin), configure, x.to(dtype))
    except Exception as error:  # whatever peft's layers raise
        return f"peft says {said(error)}"
    size = base.norm() + (expected - base).norm()
    return "" if (found - expected).norm() < TOLERANCE * size else "peft reads its weight as if it were not quantised"


@torch.no_grad()
def _twin(layer: nn.Module, features: int, dtype: torch.dtype) -> nn.Linear:
    """The same linear map with its weight in floating point, read off what it makes of the unit vectors."""
    device = next(layer.parameters()).device
    bias = layer(torch.zeros(1, features, device=device, dtype=dtype)).float()[0]
    weight = (layer(torch.eye(features, device=device, dtype=dtype)).float() - bias).T
    twin = nn.Linear(features, weight.shape[0], bias=layer._parameters.get("bias") is not None, device=device)
    twin.weight.copy_(weight)
    if twin.bias is not None:
        twin.bias.copy_(bias)
    return twin


def _adapted(box: Box, configure: Callable[[], Any], x: Tensor) -> Tensor:
    """The output of the adapted layer, with the same values of its parameters at each call, and gradients for them."""
    torch.manual_seed(0)
    injection = Injection(box.eval(), configure())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in injection.own_parameters().values():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator).to(parameter))
    injection.route()
    y: Tensor = box(x)
    y.float().sum().backward()
    return y.detach().float()
