"""An overlay: what adapters show in the place of one base parameter, with the base kept aside untouched.

Two things change a base parameter: training it itself (a new head, full fine-tuning), and merging a delta into it.
Neither writes to it. The base ``Parameter`` object is set aside, another is shown in its place, and taking the layers
away puts the same object back: so detaching and unmerging are exact to the bit, in any order, with nothing subtracted.

Where a quantised weight is merged to floating point, or its format holds it in more than a parameter, it is the module
that takes another form, and its own is set aside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..quant.floating_linear import FloatingLinear
from ..quant.formats import WeightFormat, has_weight_format, summed, weight_format
from ..quant.quantised_experts import QuantisedExperts
from .form import Form
from .site_adapter import SiteAdapter, WeightDelta


@dataclass
class Replaced:
    """A layer that shows another parameter in the place of the base's."""

    parameter: nn.Parameter
    shown: bool = True


class Trained(Replaced):
    """A layer that shows a trainable copy."""


@dataclass
class Merged:
    """A layer that adds the delta of an adapter to what lies below it.

    Attributes:
        adapter: Whose delta.
        part: The name of the parameter in its module.
        weight: What the delta is multiplied by.
        dtype: What a quantised weight is merged to; ``None`` leaves it in its format.
        error: How far a quantised weight is from the sum, over the size of the delta.
    """

    adapter: SiteAdapter
    part: str
    weight: float = 1.0
    dtype: torch.dtype | None = None
    shown: bool = True
    error: float | None = None

    def changes(self) -> dict[str, Tensor]:
        """The weighted delta by the name of the parameter."""
        delta = self.adapter.delta()
        assert isinstance(delta, WeightDelta)
        return {part: self.weight * change.detach() for part, change in delta.by_parameter().items()}


class Overlay:
    """The layers over one base parameter.

    Args:
        places: Every (module, name in it) that holds the parameter; more than one where it is tied. A module that has
            no parameter of that name is one place, and what is laid over it is laid over its weight in whatever form,
            and its bias.
    """

    def __init__(self, places: Sequence[tuple[nn.Module, str]]) -> None:
        self.places = list(places)
        self.base = self._current()
        self.layers: dict[str, Replaced | Merged] = {}
        self._form: Form | None = None

    def put(self, owner: str, layer: Replaced | Merged) -> None:
        """Lay ``layer`` on top, for the adapter ``owner``."""
        self._keep()
        self.layers[owner] = layer
        self._show()

    def take(self, owner: str) -> None:
        """Take the layer of ``owner`` away."""
        self._keep()
        del self.layers[owner]
        self._show()

    def show(self, owner: str, shown: bool) -> None:
        """Show or hide the layer of ``owner``."""
        self._keep()
        self.layers[owner].shown = shown
        self._show()

    def trainable(self) -> Trained:
        """A layer with a trainable copy of the base."""
        assert self.base is not None
        return Trained(nn.Parameter(self.base.detach().clone()))

    def trained(self, owner: str) -> nn.Parameter:
        """The trainable copy of ``owner``, whether it is shown now or not."""
        self._keep()
        layer = self.layers[owner]
        assert isinstance(layer, Trained)
        return layer.parameter

    @property
    def is_whole(self) -> bool:
        """Whether it is over a module whose weight is no parameter."""
        return self.base is None

    @property
    def _module(self) -> nn.Module:
        return self.places[0][0]

    def _current(self) -> nn.Parameter | None:
        module, key = self.places[0]
        return module._parameters.get(key)

    def _keep(self) -> None:
        """Note what the module holds now: ``model.to(...)`` may have put a new Parameter in the place of ours."""
        visible = [layer for layer in self.layers.values() if layer.shown]
        shown = self._current()
        if visible and isinstance(visible[-1], Replaced) and shown is not None:
            visible[-1].parameter = shown

    def _show(self) -> None:
        self._restore()
        for layer in self.layers.values():
            if isinstance(layer, Replaced) and layer.shown:
                self._hold(layer.parameter)
            elif isinstance(layer, Merged) and layer.shown:
                # A delta may depend on the weight below it, so the module holds that one while the delta is asked for.
                self._merge(layer)

    def _restore(self) -> None:
        """Show the base, and nothing over it."""
        if self._form is not None:
            device = _device(self._module)
            self._take_form(self._form)
            self._form = None
            if _device(self._module) != device:  # the model was moved in the meantime
                self._module.to(device)
        elif self.base is not None:
            shown = self._current()
            assert shown is not None
            self._follow(shown)
        if self.base is not None:
            self._hold(self.base)

    @torch.no_grad()
    def _merge(self, layer: Merged) -> None:
        changes, module = layer.changes(), self._module
        if self.is_whole and self._form is None:
            self._form = Form.of(module)
        if layer.part == "weight" and "weight" in changes and has_weight_format(module):
            self._merge_weight(layer, changes["weight"], weight_format(module))
        elif not self.is_whole:
            below = self._current()
            assert below is not None
            self._hold(_plus(below, changes[layer.part], layer.dtype))
        if self.is_whole and "bias" in changes:
            _add_to_bias(module, changes["bias"])

    def _merge_weight(self, layer: Merged, change: Tensor, stored: WeightFormat) -> None:
        module = self._module
        bias = getattr(module, "bias", None)
        wanted = _sum(stored.dequantised(module), change) if stored.quantised else None
        if wanted is not None and layer.dtype is not None:
            self._exchange(FloatingLinear.of(wanted.to(layer.dtype), None), bias)
        else:
            value = stored.plus(module, _stored(module, stored.tensor), change)
            if isinstance(value, nn.Module):
                self._exchange(value, bias)
            else:
                self._hold(value if isinstance(value, nn.Parameter) else _frozen(value))
        if wanted is not None:
            off = _sum(weight_format(module).dequantised(module), -wanted).norm()
            layer.error = (off / change.norm()).item() if change.any() else 0.0

    def _exchange(self, other: nn.Module, bias: Tensor | None) -> None:
        """Give the module the form of another, with a bias of its own."""
        if self._form is None:
            self._form = Form.of(self._module)
        if bias is not None:
            own = isinstance(other, FloatingLinear) and self.is_whole
            other.bias = _frozen(bias.detach().to(other.weight.dtype)) if own else bias  # type: ignore[arg-type]
        self._take_form(Form.of(other))

    def _take_form(self, form: Form) -> None:
        """Give the module a form, with the bias that is shown now, where that is a parameter of the base's."""
        bias = None if self.is_whole else self._module._parameters.get("bias")
        form.give(self._module)
        if bias is not None:
            self._module._parameters["bias"] = bias

    def _hold(self, parameter: nn.Parameter) -> None:
        for module, key in self.places:
            module._parameters[key] = parameter

    def _follow(self, shown: nn.Parameter) -> None:
        """Move what is set aside to where the model was moved in the meantime, as the model itself would have been."""
        hidden = [self.base, *(layer.parameter for layer in self.layers.values() if isinstance(layer, Replaced))]
        for parameter in hidden:
            if parameter is None:
                continue
            dtype = shown.dtype if parameter.is_floating_point() else parameter.dtype  # codes stay codes
            if parameter.device != shown.device or parameter.dtype != dtype:
                parameter.data = parameter.data.to(shown.device, dtype)


def _sum(weight: Tensor, change: Tensor) -> Tensor:
    """The sum, in at least float32."""
    precise = torch.promote_types(weight.dtype, torch.float32)
    return weight.to(precise) + change.to(precise)


def _plus(below: nn.Parameter, change: Tensor, dtype: torch.dtype | None) -> nn.Parameter:
    """The sum in the format of the parameter below, or one that is quantised in floating point."""
    if not isinstance(below, QuantisedExperts):
        return _frozen(summed(below, change))
    return below.plus(change) if dtype is None else _frozen(_sum(below.dequantise(), change).to(dtype))


def _frozen(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)


def _stored(module: nn.Module, name: str) -> Tensor:
    stored: Tensor = getattr(module, name)
    return stored


def _device(module: nn.Module) -> torch.device:
    return _stored(module, weight_format(module).tensor).device


def _add_to_bias(module: nn.Module, change: Tensor) -> None:
    bias: Tensor = module.bias  # type: ignore[assignment]
    value = summed(bias.detach(), change)
    module.bias = _frozen(value) if isinstance(bias, nn.Parameter) else value
