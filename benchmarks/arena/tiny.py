"""A tiny config for any architecture, and a model of it: sizes by the meaning of a field's name."""

import dataclasses
from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any

import torch
from torch import nn

from inarch_benchmarks.arena.overrides import OVERRIDES, TRAINED_IN_TRAIN_MODE
from inarch_benchmarks.arena.sizes import (
    AT_MOST,
    EVEN_IF_NONE,
    HEAD_COUNTS,
    HEADS,
    INDEXES,
    ONE_EACH,
    SIZES,
    TOKENS,
    WIDTHS,
)

TYPE = "model_type"
"""The key under which the config of a part says what it is, where the whole has none of its own."""

NOISE = 0.02
"""Added to every drawn weight: gates and scales that start at zero would hide whatever stands behind them."""


def tiny_config(config_class: Any, **given: Any) -> Any:
    """A config of ``config_class`` with every size in it tiny, in the configs of its parts too.

    Args:
        config_class: A config class of transformers.
        **given: Values of fields, before the general ones; for a part, the fields of its config.
    """
    return _shrunk(_default(config_class, given), given)


def _shrunk(default: Any, given: dict[str, Any]) -> Any:
    """The tiny config in place of ``default``, which may differ from its class's own defaults as a part does."""
    config_class = type(default)
    given = OVERRIDES.get(config_class.model_type, {}) | given
    parts = {name: _of_type(**value) for name, value in given.items() if isinstance(value, dict) and TYPE in value}
    fields = _fields(default)
    for name, value in fields.items():
        if _is_config(value) and name not in parts:
            parts[name] = _shrunk(value, given.get(name, {}))
    sizes = {name: _tiny(name, value) for name, value in fields.items() if name not in parts}
    sizes |= _layers(default, fields, given) | _heads(default, fields) | _tokens(default, fields)
    usual = _fields(_default(config_class, given))
    changed = {name: value for name, value in sizes.items() if name not in usual or value != usual[name]}
    return config_class(**changed | given | parts)


def _default(config_class: Any, given: dict[str, Any]) -> Any:
    """The config as it is without settings; where there is none, with those that are given."""
    try:
        return config_class()
    except Exception:  # whatever the config's own checks raise
        given = OVERRIDES.get(config_class.model_type, {}) | given
        parts = {name: _of_type(**value) for name, value in given.items() if isinstance(value, dict) and TYPE in value}
        return config_class(**given | parts)


def _of_type(model_type: str, **given: Any) -> Any:
    """The tiny config of a type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return tiny_config(CONFIG_MAPPING[model_type], **given)


def tiny_model(model_class: Any, config: Any, seed: int) -> nn.Module:
    """A model with weights drawn from ``seed``, in evaluation mode, in float32 on the CPU."""
    torch.manual_seed(seed)
    model: nn.Module = model_class(config).float().train(config.model_type in TRAINED_IN_TRAIN_MODE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(NOISE * torch.randn_like(parameter))
    return model


def _fields(config: Any) -> dict[str, Any]:
    """The values of a config's fields; some are kept under another name."""
    values, kept = vars(config), config.attribute_map
    names = [field.name for field in dataclasses.fields(config) if field.init]
    return {name: values[kept.get(name, name)] for name in names if kept.get(name, name) in values}


def _is_config(value: Any) -> bool:
    from transformers import PreTrainedConfig

    return isinstance(value, PreTrainedConfig)


def _tiny(name: str, value: Any) -> Any:
    """The tiny value of a field with this default."""
    if value is None:
        return EVEN_IF_NONE.get(name)
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return min(value, AT_MOST[name]) if name in AT_MOST else SIZES.get(name, value)
    if isinstance(value, list | tuple) and value and all(isinstance(each, int) for each in value):
        return type(value)(_tiny_list(name, value))
    return value


def _tiny_list(name: str, values: Sequence[int]) -> Sequence[int]:
    """The tiny values of a field that has one for each stage or for each dimension."""
    if name in INDEXES:
        return INDEXES[name]
    if name in ONE_EACH:
        return [1] * len(values)
    if name in WIDTHS:
        return [max(8, round(2 * value / min(values)) * 8) for value in values]
    if name in HEAD_COUNTS:
        return [value // gcd(*values) for value in values]
    if name in ("image_size", "patch_size"):
        return [_tiny(name, value) for value in values]
    return values


def _layers(default: Any, fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value for each layer: one layer of each kind is kept, and at least two."""
    before = getattr(default, "num_hidden_layers", None)
    per_layer = {
        name: given.get(name, value)
        for name, value in fields.items()
        if isinstance(value, list) and len(value) == before and len(value) > 2
    }
    if not per_layer:
        return {}
    kept = {name: _one_each(value) if isinstance(value[0], str) else value for name, value in per_layer.items()}
    kinds = [len(value) for value in kept.values() if isinstance(value[0], str)]
    count = max(2, *kinds, *(len(given[name]) for name in per_layer if name in given), 2)
    count_name = default.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    tiny = {name: [_tiny(name, value) for value in (values * count)[:count]] for name, values in kept.items()}
    return tiny | ({count_name: count} if count_name in fields else {})


def _one_each(kinds: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(kinds))


def _heads(default: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What must fit the heads: low-rank attention has no groups, and the sections of a rotary embedding fill it."""
    fitting: dict[str, Any] = {}
    if "kv_lora_rank" in fields and "num_key_value_heads" in fields:
        fitting["num_key_value_heads"] = HEADS
    rope = fields.get("rope_parameters")
    if isinstance(rope, dict) and "mrope_section" in rope:
        half = int(SIZES["head_dim"] * rope.get("partial_rotary_factor", 1)) // 2
        sections = len(rope["mrope_section"])
        fitting["rope_parameters"] = rope | {
            "mrope_section": [half // sections] * (sections - 1) + [half - half // sections * (sections - 1)]
        }
    return fitting


def _tokens(default: Any, fields: Mapping[str, Any]) -> dict[str, int]:
    """The ids of the special tokens."""
    tokens = {name: TOKENS[name] for name, value in fields.items() if name in TOKENS and isinstance(value, int)}
    if "pad_token_id" in fields:
        tokens["pad_token_id"] = TOKENS["pad_token_id"]
    if default.is_encoder_decoder:
        tokens["decoder_start_token_id"] = TOKENS["decoder_start_token_id"]
    return tokens
