"""An overlay: what adapters show in the place of one base parameter, with the base kept aside untouched.

Two things change a base parameter: training it itself (a new head, full fine-tuning), and merging a delta into it.
Neither writes to it. The base ``Parameter`` object is set aside, another is shown in its place, and taking the layers
away puts the same object back: so detaching and unmerging are exact to the bit, in any order, with nothing subtracted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..quant import summed, weight_format
from .output_adapter import OutputAdapter, WeightDelta


@dataclass
class Trained:
    """A layer that replaces the parameter by a trainable copy."""

    parameter: nn.Parameter
    shown: bool = True


@dataclass
class Merged:
    """A layer that adds the delta of an adapter to what lies below it."""

    adapter: OutputAdapter
    part: Literal["weight", "bias"]
    shown: bool = True

    def over(self, module: nn.Module, below: Tensor) -> nn.Parameter:
        """The parameter below with the delta added, in its own format and dtype."""
        delta = self.adapter.delta()
        assert isinstance(delta, WeightDelta)
        with torch.no_grad():
            if self.part == "weight":
                assert delta.weight is not None
                value = weight_format(module).plus(module, below, delta.weight)
            else:
                assert delta.bias is not None
                value = summed(below, delta.bias)
        return nn.Parameter(value, requires_grad=False)


class Overlay:
    """The layers over one base parameter.

    Args:
        places: Every (module, name in it) that holds the parameter; more than one where it is tied.
    """

    def __init__(self, places: Sequence[tuple[nn.Module, str]]) -> None:
        self.places = list(places)
        self.base = self._current()
        self.layers: dict[str, Trained | Merged] = {}

    def put(self, owner: str, layer: Trained | Merged) -> None:
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

    def trained(self, owner: str) -> nn.Parameter:
        """The trainable copy of ``owner``, whether it is shown now or not."""
        self._keep()
        layer = self.layers[owner]
        assert isinstance(layer, Trained)
        return layer.parameter

    def _current(self) -> nn.Parameter:
        module, key = self.places[0]
        parameter = module._parameters[key]
        assert parameter is not None
        return parameter

    def _keep(self) -> None:
        """Note what the module holds now: ``model.to(...)`` may have put a new Parameter in the place of ours."""
        visible = [layer for layer in self.layers.values() if layer.shown]
        if visible and isinstance(visible[-1], Trained):
            visible[-1].parameter = self._current()

    def _show(self) -> None:
        before = self._current()
        self._follow(before)
        parameter = self.base
        for layer in self.layers.values():
            if isinstance(layer, Trained) and layer.shown:
                parameter = layer.parameter
            elif isinstance(layer, Merged) and layer.shown:
                parameter = layer.over(self.places[0][0], parameter)
        for module, key in self.places:
            module._parameters[key] = parameter

    def _follow(self, shown: nn.Parameter) -> None:
        """Move what is set aside to where the model was moved in the meantime, as the model itself would have been."""
        hidden = [self.base, *(layer.parameter for layer in self.layers.values() if isinstance(layer, Trained))]
        for parameter in hidden:
            if parameter.device != shown.device or parameter.dtype != shown.dtype:
                parameter.data = parameter.data.to(shown.device, shown.dtype)
