"""A quantised model of transformers: what it says of itself, and what is saved of it."""

from collections.abc import Collection, Iterable, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..kernels import FourBit
from ..quant import QuantisedLinear
from ..quant.quantised_experts import QuantisedExperts
from ..quant.quantised_linear import QuantisedWeight
from .quantisation_config import Quantization
from .quantised_conversion import keep_entries

_TABLES = ("quant_map", "nested_quant_map")
"""Entries of four bits that are the same for all weights, and one tensor where they can be."""


def mark(model: nn.Module, config: Quantization, quantiser: Any = None, kept: Collection[str] = ()) -> None:
    """Note on a model that it is quantised, so that ``save_pretrained`` writes it and says how to load it.

    Args:
        model: The model.
        config: How it is quantised; what it came to be is noted in it.
        quantiser: What loaded it; a new one where nothing has.
        kept: Names of parameters that are saved under the names they have in the model, beside the quantised ones.
    """
    own: Any = model
    weights = [weight.stored for weight in _quantised_parameters(model)]
    double = all(weight.nested is not None for weight in weights if isinstance(weight, FourBit))
    fused = any(isinstance(weight, QuantisedExperts) for weight in _quantised_parameters(model))
    config.loaded(own.dtype, precise_maps(model), double=double, fused=fused)
    own.config.quantization_config = config
    own.hf_quantizer = quantiser or import_module(".quantiser", __package__).Quantiser(config, pre_quantized=False)
    keep_entries(model, {*quantised_entries(model), *kept})


def quantised_entries(model: nn.Module) -> dict[str, Tensor]:
    """What the state dict of a model holds of its quantised weights."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        keys = [key for key, weight in module._parameters.items() if _is_quantised(weight)]
        if keys:
            prefix = f"{name}." if name else ""
            floats = {prefix + key for key in module._parameters if key not in keys}
            found |= {key: value for key, value in _own_state(module, prefix).items() if key not in floats}
    return found


def with_own_memory(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which the tables of values, which are one for all weights, are copies: files want them so."""
    return {
        name: value.clone() if name.rpartition(".")[2] in _TABLES and value.dim() == 1 else value
        for name, value in state.items()
    }


def precise_maps(model: nn.Module) -> list[str]:
    """The linear maps that bitsandbytes is to leave alone, as patterns of its list.

    Releases of transformers take a name in it for a prefix of names or an end of them: one that would hit a quantised
    map too is written so that it stands for itself alone.
    """
    modules = dict(model.named_modules())
    names = [name for name, module in modules.items() if isinstance(module, Conv1D) or type(module) is nn.Linear]
    quantised = [name for name, module in modules.items() if isinstance(module, QuantisedLinear)]
    return [f"^{name}$" if _hits(name, quantised) else name for name in names]


def _hits(name: str, others: Sequence[str]) -> bool:
    return any(other.startswith(name) or other.endswith(name) for other in others)


def _own_state(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    inside = tuple(f"{prefix}{key}." for key, child in module._modules.items() if child is not None)
    state: dict[str, Tensor] = module.state_dict(prefix=prefix)
    return {key: value for key, value in state.items() if not key.startswith(inside)}


def _quantised_parameters(model: nn.Module) -> Iterable[Any]:
    return [weight for module in model.modules() for weight in module._parameters.values() if _is_quantised(weight)]


def _is_quantised(weight: Any) -> bool:
    return isinstance(weight, QuantisedWeight | QuantisedExperts)
