"""transformers' own hook for gradient checkpointing, block by block.

A ``GradientCheckpointingLayer`` in training mode whose ``gradient_checkpointing`` is true is called through its
``_gradient_checkpointing_func``. Both are set on single blocks here; what they were is given back exactly.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

_ATTRIBUTES = ("gradient_checkpointing", "_gradient_checkpointing_func")

Before = dict[str, Any]
"""Which of the attributes a block had of its own, and their values."""


def checkpointed_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of ``model`` that transformers can checkpoint, by name; those within another one are part of it."""
    from transformers.modeling_layers import GradientCheckpointingLayer  # here, since it takes seconds to import

    found: dict[str, nn.Module] = {}
    around: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if isinstance(module, GradientCheckpointingLayer) and not name.startswith(around):
            found[name] = module
            around = (*around, f"{name}.")
    return found


def checkpoint_by(block: nn.Module, function: Callable[..., Any] | None) -> Before:
    """Let ``function`` call the block in training; ``None`` lets nothing do so.

    Returns:
        What ``restore`` needs.
    """
    before = {name: vars(block)[name] for name in _ATTRIBUTES if name in vars(block)}
    values = (function is not None, function)
    vars(block).update(zip(_ATTRIBUTES, values, strict=True))
    return before


def restore(block: nn.Module, before: Before) -> None:
    """Undo ``checkpoint_by``."""
    for name in _ATTRIBUTES:
        vars(block).pop(name, None)
    vars(block).update(before)


def use_no_cache(model: nn.Module) -> bool:
    """In training, let ``model`` keep no cache, which a block that is computed again would write to twice.

    Returns:
        Whether it takes a cache at all.
    """
    place = list(inspect.signature(type(model).forward).parameters).index("use_cache") - 1 if _caches(model) else -1
    if place >= 0:
        model.register_forward_pre_hook(partial(_without_cache, place), with_kwargs=True)
    return place >= 0


def use_cache_again(model: nn.Module) -> None:
    """Undo ``use_no_cache``."""
    for key, hook in list(model._forward_pre_hooks.items()):
        if isinstance(hook, partial) and hook.func is _without_cache:
            del model._forward_pre_hooks[key]
            model._forward_pre_hooks_with_kwargs.pop(key, None)


def _caches(model: nn.Module) -> bool:
    return "use_cache" in inspect.signature(type(model).forward).parameters


def _without_cache(place: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    said = len(args) > place or kwargs.get("use_cache") is not None
    if said or not module.training or not torch.is_grad_enabled():
        return None
    return args, kwargs | {"use_cache": False}
