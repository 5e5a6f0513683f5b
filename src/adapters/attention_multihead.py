"""PyTorch's own multi-head attention, in one function, with a prefix before its keys and values."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .attention_prefix import Prefix

_NAMES = tuple(signature(functional.multi_head_attention_forward).parameters)


def attend(
    prefix: Prefix, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """Call ``multi_head_attention_forward`` with the prefix before the keys and values that it projects.

    It takes keys and values that are projected already, and then what it projects counts for its length alone.
    """
    given: dict[str, Any] = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    key, value, heads = given["key"], given["value"], given["num_heads"]
    own_key, own_value = _projected(given)
    rows = torch.Size((key.shape[1] if key.dim() == 3 else 1, heads))
    size = given["embed_dim_to_check"] // heads
    first_keys = prefix.keys_in(rows, size).flatten(0, 1).to(own_key.dtype)
    first_values = prefix.values_in(rows, size).flatten(0, 1).to(own_value.dtype)
    given["static_k"] = torch.cat([first_keys, _apart(own_key, rows, size)], dim=1)
    given["static_v"] = torch.cat([first_values, _apart(own_value, rows, size)], dim=1)
    longer = (0, 0) * (key.dim() - 1) + (prefix.length, 0)
    given["key"], given["value"] = functional.pad(key, longer), functional.pad(value, longer)
    mask = given.get("attn_mask")
    given["attn_mask"] = None if mask is None else functional.pad(mask, (prefix.length, 0))  # true and -inf hide a key
    dtype = torch.bool if mask is None else mask.dtype
    given["key_padding_mask"] = _padding(prefix, given.get("key_padding_mask"), key, dtype)
    given["is_causal"] = False  # a hint that the mask tells the same
    output, weights = func(**given)
    return output, None if weights is None else weights[..., prefix.length :]


def _projected(given: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Keys and values of the sequence, shape (positions, batch, heads * size), or without a batch."""
    separate = given.get("use_separate_proj_weight", False)
    packed = None if separate else given["in_proj_weight"].chunk(3)
    of_keys, of_values = (given["k_proj_weight"], given["v_proj_weight"]) if packed is None else packed[1:]
    bias = given["in_proj_bias"]
    _, bias_of_keys, bias_of_values = (None, None, None) if bias is None else bias.chunk(3)
    key = functional.linear(given["key"], of_keys, bias_of_keys)
    return key, functional.linear(given["value"], of_values, bias_of_values)


def _padding(prefix: Prefix, padding: Tensor | None, key: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The mask of padded keys, shape (batch, length + positions) or without a batch; a new one of ``dtype``."""
    if prefix.hidden is None:
        return None if padding is None else functional.pad(padding, (prefix.length, 0))
    shape = (key.shape[1], key.shape[0]) if key.dim() == 3 else (key.shape[0],)
    own = torch.zeros(shape, dtype=dtype, device=key.device) if padding is None else padding
    hidden = prefix.hidden_in(torch.Size((key.shape[1] if key.dim() == 3 else 1,))).view(*shape[:-1], prefix.length)
    first = hidden if own.dtype == torch.bool else own.new_zeros(hidden.shape).masked_fill(hidden, -torch.inf)
    return torch.cat([first, own], dim=-1)


def _apart(projected: Tensor, rows: torch.Size, size: int) -> Tensor:
    """Batch and heads as one axis before the positions."""
    return projected.reshape(projected.shape[0], rows.numel(), size).transpose(0, 1)
