"""Attention through transformers' registry of attention functions: the prefix stands before the keys at the call.

Most models ask ``AttentionInterface.get_interface`` for the function that computes their attention, and call it with
the attention module first. While some model has an attention adapter, what they are given looks whether that module
has one, and is the function they asked for otherwise. So neither a config nor a cache nor a mask of the model is
touched, and every implementation that transformers offers or a user registers is served, eager ones too.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .attention_adapter import AttentionAdapter
from .attention_prefix import KEY, Prefix, is_open, own_mask, prefix_of, unused
from .slot import SLOT, Slot

_taps: "dict[int, finalize[[int], AttentionAdapter]]" = {}
"""What undoes the ``tap`` of an adapter when it is collected, by the adapter's id."""

_original: list[Callable[..., Any]] = []


class _Served(threading.local):
    """The slots whose prefix this thread has put before a sequence, in forward passes that are not over."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []


_served = _Served()


def tap(adapter: AttentionAdapter) -> None:
    """Serve the attention that ``adapter`` belongs to, until ``untap`` or until the adapter is collected."""
    from transformers.modeling_utils import AttentionInterface  # here, since it takes seconds to import

    if id(adapter) not in _taps:
        _taps[id(adapter)] = finalize(adapter, _let_go, id(adapter))
        _taps[id(adapter)].atexit = False
    if not _original:
        _original.append(AttentionInterface.get_interface)
        AttentionInterface.get_interface = _get_interface


def untap(adapter: AttentionAdapter) -> None:
    """Undo ``tap``; with the last adapter transformers is as it was."""
    if id(adapter) in _taps:
        _taps[id(adapter)]()


def _let_go(tapped: int) -> None:
    from transformers.modeling_utils import AttentionInterface

    _taps.pop(tapped, None)
    if not _taps and AttentionInterface.get_interface is _get_interface:
        AttentionInterface.get_interface = _original.pop()


def looks_up(module: nn.Module) -> bool:
    """Whether the module asks the registry for its attention function."""
    code = getattr(type(module).forward, "__code__", None)
    return code is not None and "get_interface" in code.co_names


def require_served(module: nn.Module, args: Any, output: Any) -> None:
    """The hook after such a module.

    Raises:
        ModelError: Its adapters took no part.
    """
    slot: Any = module._modules[SLOT]
    slots = _served.slots
    if slots and slot in slots:
        slots.remove(slot)
    elif is_open(slot):
        raise unused(slot)


def _get_interface(self: Any, attn_implementation: str | None, default: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_attend, _original[0](self, attn_implementation, default), attn_implementation or "eager")


def _attend(
    function: Callable[..., Any],
    implementation: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any = None,
    **kwargs: Any,
) -> Any:
    """Call ``function`` with the prefix of ``module``, if it has one, before ``key`` and ``value``."""
    slot: Any = module._modules.get(SLOT)
    served = slot is not None and KEY in slot.switches and looks_up(module)
    prefix = prefix_of(slot) if served else None
    if prefix is None:
        return function(module, query, key, value, attention_mask, **kwargs)
    _refuse(prefix, implementation, attention_mask, query, kwargs)
    attention_mask = _mask(prefix, implementation, module, query, key, attention_mask, kwargs)
    if kwargs.get("position_bias") is not None:
        kwargs["position_bias"] = nn.functional.pad(kwargs["position_bias"], (prefix.length, 0))
    longer_key = torch.cat([prefix.keys_like(key), key], dim=2)
    longer_value = torch.cat([prefix.values_like(value), value], dim=2)
    output, weights = function(module, query, longer_key, longer_value, attention_mask, **kwargs)
    if slot not in _served.slots:
        _served.slots.append(slot)
    return output, None if weights is None else weights[..., prefix.length :]


def _mask(
    prefix: Prefix,
    implementation: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    kwargs: Mapping[str, Any],
) -> Tensor | None:
    """The mask with the prefix; where there was none, one only if it is needed, in the form that the function takes."""
    if mask is not None:
        return prefix.mask(mask, key.shape[0])
    by_itself = "eager" in implementation or "flash" in implementation  # never causal, or aligned to the last key
    if by_itself and prefix.hidden is None:
        return None
    if "flash" in implementation:
        return prefix.mask(torch.ones(key.shape[0], key.shape[2], dtype=torch.long, device=key.device), key.shape[0])
    if "eager" in implementation:
        return prefix.mask(query.new_zeros(1, 1, query.shape[2], key.shape[2]), key.shape[0])
    causal = kwargs.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if causal is None else causal) and query.shape[2] > 1
    return own_mask(prefix, query, key, is_causal=causal) if causal or prefix.hidden is not None else None


_OF_POSITIONS = ("cache", "indices", "block_indices")
"""Arguments that tell of keys by their position, or hold others than those that are given."""

_OF_POSITIONS_IN_FLASH = ("cu_seq_lens_k", "sliding_window")


def _refuse(prefix: Prefix, implementation: str, mask: Any, query: Tensor, kwargs: dict[str, Any]) -> None:
    """Refuse what would hide the prefix, or take it for positions of the sequence."""
    flash = "flash" in implementation
    names = _OF_POSITIONS + _OF_POSITIONS_IN_FLASH if flash else _OF_POSITIONS
    given = [name for name in names if kwargs.get(name) is not None]
    if flash and _is_packed(query, kwargs.get("position_ids")):
        given.append("packed position_ids")
    if mask is not None and not isinstance(mask, Tensor):
        given.append(f"a {type(mask).__name__} as its mask")
    if given:
        raise ModelError(
            f'The attention {prefix.where} calls "{implementation}" with {" and ".join(given)}, which no prefix can '
            'stand before: choose another implementation, such as model.set_attn_implementation("sdpa").'
        )


def _is_packed(query: Tensor, positions: Tensor | None) -> bool:
    """Whether one row holds several sequences, which flash attention is told by their positions."""
    if positions is None or query.shape[0] > 1 or query.shape[2] == 1:
        return False
    return bool((positions.diff(dim=-1) != 1).any())
