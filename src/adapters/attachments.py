"""The attachments: what one model remembers of the adapters attached to it.

They are kept in the model's own ``__dict__``, so that a ``deepcopy`` or a pickle of the model has its own, and they go
with the last adapter.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from ..errors import FormatError
from ..quant import has_weight_format, is_floating, weight_format
from .overlay import Overlay
from .part import base_parameters
from .reversible import ask_for_gradient, ask_no_more

if TYPE_CHECKING:
    from .adapter import Adapter

_KEY = "_inarch_attachments"


class Attachments:
    """The adapters of one model, the overlays over its parameters, and which of them were trainable before."""

    def __init__(self, model: nn.Module) -> None:
        self.adapters: dict[str, Adapter] = {}
        self.overlays: dict[str, Overlay] = {}
        modules = list(model.modules())  # once: in a large model, going through them takes a tenth of attaching
        parameters = dict.fromkeys(own for module in modules for own in module._parameters.values() if own is not None)
        self.held = [] if all(map(is_floating, parameters)) else _held(modules)
        self.frozen = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in self.frozen:
            parameter.requires_grad_(False)
        self.asking = ask_for_gradient(model, modules)

    def cover(self, model: nn.Module, names: Sequence[str]) -> list[Overlay]:
        """The overlays over the base parameters ``names``, made where there is none yet; tied names share one."""
        if not names:
            return []
        places: dict[int, dict[str, tuple[nn.Module, str]]] = {}
        for name, module, key in base_parameters(model):
            places.setdefault(id(module._parameters[key]), {})[name] = (module, key)
        tied = {name: holders for holders in places.values() for name in holders}
        for name in names:
            if name not in self.overlays:
                self.overlays.update(dict.fromkeys(tied[name], Overlay(list(tied[name].values()))))
        return [self.overlays[name] for name in names]

    def of(self, owner: str) -> list[Overlay]:
        """The overlays in which the adapter ``owner`` has a layer, each once."""
        return list({id(o): o for o in self.overlays.values() if owner in o.layers}.values())

    def prune(self) -> None:
        """Forget overlays without layers."""
        self.overlays = {name: overlay for name, overlay in self.overlays.items() if overlay.layers}

    def settle(self) -> None:
        """Make what every overlay shows the base itself, and let go of what was kept aside."""
        trainable = {id(parameter) for parameter in self.frozen}
        for overlay in self.overlays.values():
            was_trainable = id(overlay.base) in trainable
            for module, key in overlay.places:
                shown = module._parameters.get(key)
                if shown is not None:
                    shown.requires_grad_(was_trainable)
        self.overlays.clear()

    def unfreeze(self) -> None:
        """Give the base back as it was: its parameters their ``requires_grad``."""
        for module in self.held:
            weight_format(module).release(module)
        for parameter in self.frozen:
            parameter.requires_grad_(True)
        if self.asking is not None:
            ask_no_more(self.asking)


def _held(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The layers of a quantised model that would do something to their weights.

    Raises:
        FormatError: One of them passes no gradients; none is held.
    """
    held: list[nn.Module] = []
    try:
        for module in modules:
            if has_weight_format(module) and weight_format(module).hold(module):
                held.append(module)
    except FormatError:
        for module in held:
            weight_format(module).release(module)
        raise
    return held


def attachments(model: nn.Module) -> Attachments | None:
    """The attachments of ``model``, if anything is attached."""
    return model.__dict__.get(_KEY)


def open_attachments(model: nn.Module) -> Attachments:
    """The attachments of ``model``; the first call freezes its parameters."""
    if _KEY not in model.__dict__:
        model.__dict__[_KEY] = Attachments(model)
    return model.__dict__[_KEY]  # type: ignore[no-any-return]


def withdraw(model: nn.Module, name: str) -> None:
    """Forget an adapter that did not come to be attached."""
    found = attachments(model)
    if found is None or name not in found.adapters:
        return
    for overlay in found.of(name):
        overlay.take(name)
    found.prune()
    del found.adapters[name]
    if not found.adapters:
        close_attachments(model)


def close_attachments(model: nn.Module) -> None:
    """Forget the attachments and unfreeze the base, after the last adapter has gone."""
    model.__dict__.pop(_KEY).unfreeze()
