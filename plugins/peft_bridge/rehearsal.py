"""Rehearsals: an injection is tried on a copy first, so that whatever is wrong is said before the model is touched."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from inarch import PlanError

from .injection import Injection
from .library import BaseTunerLayer, own_random, said
from .skeleton import meta_copy, sharing_copy


def rehearsed(method: str, model: nn.Module, configure: Callable[[], Any], required: Iterable[str] = ()) -> Injection:
    """An injection into a copy: without weights if that goes, else with the model's own, which it only reads.

    Some methods compute where they begin from the weights, and some cannot make their own tensors without memory.

    Args:
        method: Name of the method, for messages.
        model: The model.
        configure: Makes peft's configuration.
        required: Settings of it that must have a value by the end, given or filled in by peft.

    Raises:
        PlanError: peft refuses.
    """
    attempts: list[tuple[Callable[[nn.Module], nn.Module], str]] = [
        (meta_copy, "meta"),
        (meta_copy, "cpu"),
        (sharing_copy, "cpu"),
    ]
    if any(parameter.is_meta for parameter in model.parameters()):
        del attempts[2:]
    elif configure().is_prompt_learning:
        del attempts[:2]  # what it makes is small, and what comes of it is computed
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise PlanError(
            f"{method} cannot be attached: this {type(model).__name__} has peft's layers in it: unload them."
        )
    with own_random(model):
        for number, (copy, place) in enumerate(attempts, start=1):
            try:
                with torch.device(place):
                    return injected(method, copy(model), configure, required)
            except PlanError:
                if number == len(attempts):
                    raise
    raise AssertionError("there is always a last attempt")


def injected(method: str, model: nn.Module, configure: Callable[[], Any], required: Iterable[str] = ()) -> Injection:
    """An injection into ``model``.

    Raises:
        PlanError: peft refuses; the model is as it was.
    """
    config = configure()
    where = f"{method} cannot be attached to this {type(model).__name__}"
    try:
        injection = Injection(model, config)
    except Exception as error:  # peft raises all kinds, from its checks and from what goes wrong without one
        raise PlanError(f"{where}: peft says {said(error)}.{_missing(config, required)}") from error
    missing = _missing(config, required)
    if missing:
        injection.show(False)
        raise PlanError(f"{where}.{missing}")
    return injection


def _missing(config: Any, required: Iterable[str]) -> str:
    """The end of a message: what nobody gave a value."""
    names = [name for name in required if not getattr(config, name)]
    return f" It has no default for {', '.join(names)}." if names else ""
