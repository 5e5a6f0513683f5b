"""Sizes of memory, as a config says them and as reports do: ``24GB``, ``24GiB``, ``80%``."""

import os
import re
from dataclasses import dataclass

import torch

from ..errors import ConfigError

_UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}
_BY_NAME = {unit.lower(): size for unit, size in _UNITS.items()}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*|%)\s*")
_HELP = "Say how much memory training may take: 24GB, 24GiB, 80% (of the device), or a number of bytes."


@dataclass(frozen=True)
class MemorySize:
    """An amount of memory.

    Attributes:
        amount: Bytes, or a share of the device's memory.
        is_share: Which of them.
    """

    amount: float
    is_share: bool = False

    def on(self, device: torch.device) -> int:
        """The bytes it means on ``device``."""
        return int(self.amount * device_memory(device)) if self.is_share else int(self.amount)


def memory_size(value: int | str) -> MemorySize:
    """The amount of memory that a setting says.

    Args:
        value: Bytes, or a text such as ``24GB`` (10^9 bytes each), ``24GiB`` (2^30 bytes each) or ``80%``.

    Raises:
        ConfigError: It says none, or one that cannot be.
    """
    found = None if isinstance(value, bool) else _TEXT.fullmatch(str(value))
    if not found:
        raise ConfigError(f"memory is {value!r}: that is no size of memory. {_HELP}")
    amount, unit = float(found[1]), found[2]
    if unit == "%":
        if not 0 < amount <= 100:
            raise ConfigError(f"memory is {value!r}: a share of the device lies above 0% and is 100% at most. {_HELP}")
        return MemorySize(amount / 100, is_share=True)
    size = _BY_NAME.get(unit.lower() or "b")
    if size is None:
        raise ConfigError(f'memory is {value!r}: "{unit}" is no unit; known: {", ".join(_UNITS)}. {_HELP}')
    if amount * size < 1:
        raise ConfigError(f"memory is {value!r}: that is less than a byte. {_HELP}")
    return MemorySize(amount * size)


def device_memory(device: torch.device) -> int:
    """All the memory of a device, in bytes; of a CPU, the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def readable(size: int) -> str:
    """A number of bytes for a message, in the decimal units: ``21.3 GB``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.3g} {unit}"
    return f"{size} bytes"
