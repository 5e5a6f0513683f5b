"""The quantised weights of checkpoint files, known from what the files say of their tensors before any is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import FormatError, ModelError
from ..kernels import FourBit, Int8
from ..kernels.four_bit import STATE
from ..kernels.int8 import FORMAT

_SCALES = "SCB"
_EIGHT_BIT = (_SCALES, FORMAT)
_FOUR_BIT = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", f"{STATE}nf4", f"{STATE}fp4")
ENTRIES = ("", *_FOUR_BIT, *_EIGHT_BIT)
"""The entries of quantised weights, as ``FourBit`` and ``Int8`` call them."""

_READ = {FORMAT, f"{STATE}nf4", f"{STATE}fp4"}
"""Entries that say what the others are: these are read; of the others the size and the dtype are enough."""


@dataclass(frozen=True)
class FileWeight:
    """A quantised weight of a checkpoint.

    Attributes:
        keys: The names of its tensors in the file, by entry.
        shape: Of the weight.
    """

    keys: Mapping[str, str]
    shape: torch.Size


def quantised_weights(files: Iterable[str]) -> dict[str, FileWeight]:
    """The quantised weights in safetensors files by name; none of them is read.

    Raises:
        ModelError: A file is none of safetensors, or is not whole.
        FormatError: A weight lacks an entry, or has one that is not what it must be.
    """
    seen: dict[str, Tensor] = {}
    for file in files:
        if not str(file).endswith(".safetensors"):
            raise ModelError(f"{file} is no safetensors file: of quantised models only those are read.")
        try:
            with safe_open(file, framework="pt") as opened:
                seen |= {key: _seen(opened, key) for key in opened.keys()}  # noqa: SIM118 - it is no dict
        except SafetensorError as error:
            raise ModelError(f"{file} cannot be read: {error}. Save or download it again.") from error
    found: dict[str, dict[str, str]] = {}
    for key in seen:
        owner, entry = _split(key)
        if entry:
            # Beside the scales of eight bits stands the weight of a module, or, of fused experts, what it belongs to.
            inside = entry in _EIGHT_BIT and owner not in seen
            found.setdefault(f"{owner}.weight" if inside else owner, {})[entry] = key
    for name, keys in found.items():
        if name in seen:
            keys[""] = name
    return {name: _whole(name, keys, seen) for name, keys in found.items()}


def stored(entries: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> FourBit | Int8:
    """The weight that entries stand for.

    Args:
        entries: By the names of ``FourBit`` and ``Int8``.
        name: The weight's, for messages.
        dtype: That a weight in eight bits has: its entries do not say.

    Raises:
        FormatError: An entry is missing, of another size than it must be, or cannot be read.
    """
    codes = entries.get("")
    if codes is None:
        raise FormatError(f"{name} lacks itself: its file is not whole.")
    if not entries.keys().isdisjoint(_EIGHT_BIT):
        return Int8.from_tensors({**entries, "": codes.flatten(0, -2)}, dtype, name)
    # Where a model was to be sharded, bitsandbytes keeps the bytes as values of another dtype.
    return FourBit.from_tensors({**entries, "": codes.reshape(-1).view(torch.uint8).reshape(-1, 1)}, name)


def _split(key: str) -> tuple[str, str]:
    """What a tensor's name begins with, and the entry that it ends in; empty where it is none."""
    entry = next((entry for entry in ENTRIES if entry and key.endswith(f".{entry}")), "")
    return key.removesuffix(f".{entry}"), entry


def _whole(name: str, keys: Mapping[str, str], seen: Mapping[str, Tensor]) -> FileWeight:
    entries = {entry: seen[key] for entry, key in keys.items()}
    weight = stored(entries, name, torch.float32)
    return FileWeight(keys, weight.shape if isinstance(weight, FourBit) else entries[""].shape)


def _seen(opened: Any, key: str) -> Tensor:
    """A tensor of a file, or its size and dtype."""
    part = opened.get_slice(key)
    shape = part.get_shape()
    if _split(key)[1] in _READ or not shape:
        return opened.get_tensor(key)  # type: ignore[no-any-return]
    return torch.empty(shape, dtype=part[:0].dtype, device="meta")
