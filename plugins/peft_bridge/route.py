"""Routes: calls of the model that go through peft's forward, while the model stays the same object."""

import inspect
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .library import quiet

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
)
_LEFT_BEHIND = ("prepare_inputs_for_generation", "generation_config")
"""Attributes that peft's ``generate`` sets on the model, or on the backbone in it, and leaves there."""


@dataclass
class Inside:
    """Whether a call is on its way through peft's model now: the model is then called as it is.

    Attributes:
        now: Whether it is.
    """

    now: bool = False


class Route:
    """What stands in for the model's ``forward`` or ``generate``.

    Args:
        name: Which of the two.
        model: The model.
        peft_model: peft's model around it.
        before: What the model itself had under the name, if it had its own.
        inside: Shared by the routes of one model.
    """

    def __init__(self, name: str, model: nn.Module, peft_model: Any, before: Any, inside: Inside) -> None:
        self._name = name
        self._model = model
        self._peft_model = peft_model
        self._before = before
        self._inside = inside

    @property
    def __signature__(self) -> inspect.Signature:
        """That of what it stands in for: transformers reads off it what a model takes."""
        return inspect.signature(self._plain())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call peft's, or the model's own where the call comes from peft's."""
        if self._inside.now:
            return self._plain()(*args, **kwargs)
        self._inside.now = True
        try:
            return self._through_peft(args, kwargs)
        finally:
            self._inside.now = False

    def _plain(self) -> Any:
        return self._before or MethodType(getattr(type(self._model), self._name), self._model)

    def _through_peft(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        config = self._peft_model.active_peft_config
        kwargs = _with_task(config, args, kwargs)
        if self._name == "generate":
            tokens = {"input_ids": args[0]} if args else {}  # peft's takes them by name only
            with _clean(self._model), quiet():
                return self._peft_model.generate(**tokens, **kwargs)
        with _hooks_aside(self._model):
            if config.is_prompt_learning:
                return self._peft_model.forward(*args, **kwargs)
            with self._peft_model._enable_peft_forward_hooks(*args, **kwargs):
                return self._peft_model.base_model(*args, **kwargs)


def _with_task(config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments with ``task_ids``, which a method for several tasks asks for, where there is only one task."""
    tasks = getattr(config, "n_tasks", getattr(config, "num_tasks", None))
    if tasks != 1 or kwargs.get("task_ids") is not None:
        return kwargs
    first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    return {**kwargs, "task_ids": torch.zeros(first.shape[0], dtype=torch.long, device=first.device)}


@contextmanager
def _hooks_aside(model: nn.Module) -> Iterator[None]:
    """The hooks of the model itself have run for this call already; they do not run again when peft calls it."""
    tables = {name: vars(model)[name] for name in _HOOKS}
    vars(model).update({name: OrderedDict() for name in _HOOKS})
    try:
        yield
    finally:
        vars(model).update(tables)


@contextmanager
def _clean(model: nn.Module) -> Iterator[None]:
    places = [model, *model.children()]
    held = [{name: vars(place)[name] for name in _LEFT_BEHIND if name in vars(place)} for place in places]
    try:
        yield
    finally:
        for place, before in zip(places, held, strict=True):
            for name in _LEFT_BEHIND:
                vars(place).pop(name, None)
            vars(place).update(before)
