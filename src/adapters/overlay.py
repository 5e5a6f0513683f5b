"""An overlay: what adapters show in the place of one base parameter, with the base kept aside untouched.

Two things change a base parameter: training it itself (a new head, full fine-tuning), and merging a delta into it.
Neither writes to it. The base ``Parameter`` object is set aside, another is shown in its place, and taking the layers
away puts the same object back: so detaching and unmerging are exact to the bit, in any order, with nothing subtracted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..quant import has_weight_format, summed, weight_format
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
    """A layer that adds the delta of an adapter to what lies below it."""

    adapter: SiteAdapter
    part: str
    weight: float = 1.0
    shown: bool = True

    def over(self, module: nn.Module, below: Tensor) -> nn.Parameter:
        """The parameter below, which ``module`` holds now, with the weighted delta added in its own format."""
        with torch.no_grad():
            delta = self.adapter.delta()
            assert isinstance(delta, WeightDelta)
            change = self.weight * delta.by_parameter()[self.part]
            if self.part == "weight" and has_weight_format(module):
                value = weight_format(module).plus(module, below, change)
            else:
                value = summed(below, change)
        return value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False)


class Overlay:
    """The layers over one base parameter.

    Args:
        places: Every (module, name in it) that holds the parameter; more than one where it is tied.
    """

    def __init__(self, places: Sequence[tuple[nn.Module, str]]) -> None:
        self.places = list(places)
        self.base = self._current()
        self.layers: dict[str, Replaced | Merged] = {}

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
        if visible and isinstance(visible[-1], Replaced):
            visible[-1].parameter = self._current()

    def _show(self) -> None:
        before = self._current()
        self._follow(before)
        self._hold(self.base)
        for layer in self.layers.values():
            if isinstance(layer, Replaced) and layer.shown:
                self._hold(layer.parameter)
            elif isinstance(layer, Merged) and layer.shown:
                # A delta may depend on the weight below it, so the module holds that one while the delta is asked for.
                self._hold(layer.over(self.places[0][0], self._current()))

    def _hold(self, parameter: nn.Parameter) -> None:
        for module, key in self.places:
            module._parameters[key] = parameter

    def _follow(self, shown: nn.Parameter) -> None:
        """Move what is set aside to where the model was moved in the meantime, as the model itself would have been."""
        hidden = [self.base, *(layer.parameter for layer in self.layers.values() if isinstance(layer, Replaced))]
        for parameter in hidden:
            if parameter.device != shown.device or parameter.dtype != shown.dtype:
                parameter.data = parameter.data.to(shown.device, shown.dtype)
