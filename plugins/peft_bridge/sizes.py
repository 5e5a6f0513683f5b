"""Sizes: the fields of peft's configurations that a budget of parameters sets, and the learning rates to be tuned."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from inarch import Method

SIZES = (
    "target_r",
    "num_virtual_tokens",
    "adapter_len",
    "subspace_rank",
    "oft_block_size",
    "n_frequency",
    "theta_d_length",
    "u",
    "r",
)
"""Fields that measure a method's size. Of several the first does: others are there for something else."""

WITHOUT_SIZE = {
    "CPT": "its tokens are given one by one",
    "RANDLORA": "a larger r is a smaller number of bases, and fewer parameters",
    "SUPERTUNING": "its size is a share, and r is for a second path",
}
"""Methods for which one of these fields is no such measure, and why."""

UNITS = ("gralora_k",)
"""Fields that the size must be a multiple of: it is counted in them."""

PEAK = "init_r"
"""The field for the rank at the start, of a schedule that leaves the size on average."""

RELATIVE = ("lora_alpha", "alpha", "psoft_alpha", "alpha_pattern")
"""Fields that a factor of the layer is computed from by dividing them by the rank."""

LEARNING_RATES: Mapping[str, tuple[float, ...]] = {
    "target_r": (3e-4, 1e-3, 3e-3, 1e-2),  # AdaLoRA: 5e-4 to 2.2e-3 (arXiv:2303.10512)
    "lora_alpha": (1e-4, 3e-4, 1e-3, 3e-3),  # LoRA: 2e-4 to 5e-4 (arXiv:2106.09685, tables 9 and 11)
    "prompt_tuning_init": (1e-2, 3e-2, 1e-1, 3e-1),  # prompts of embeddings: 0.3 (arXiv:2104.08691, section 3)
    "num_virtual_tokens": (1e-3, 3e-3, 1e-2, 3e-2),  # other prompts: 1e-3 to 5e-3 in peft's comparison of methods
    "adapter_len": (1e-3, 3e-3, 1e-2, 3e-2),  # likewise: 5e-4 to 5e-3 there
    "d_initial": (1e-3, 3e-3, 1e-2, 3e-2),  # VeRA and its kin: 4e-3 and 1e-2 (arXiv:2310.11454)
    "n_frequency": (1e-2, 3e-2, 1e-1, 3e-1),  # few coefficients for a whole weight (arXiv:2405.03003)
    "block_size": (1e-2, 3e-2, 1e-1, 3e-1),  # likewise: C3A takes 3e-1 in peft's comparison
    "effective_rank": (1e-5, 3e-5, 1e-4, 3e-4),  # as full fine-tuning: OSF takes 5e-5 there
}
"""The learning rates that are tuned over, by a field of the configuration; of several fields, the first."""


def size_setting(peft_type: str, settings: Collection[str]) -> str | None:
    """The setting that measures the size of the method for one of peft's types."""
    return None if peft_type in WITHOUT_SIZE else next((name for name in SIZES if name in settings), None)


def search_of(settings: Collection[str]) -> Mapping[str, tuple[Any, ...]]:
    """What is tuned, of a method with these settings."""
    rates = next((rates for name, rates in LEARNING_RATES.items() if name in settings), None)
    return Method.search if rates is None else {"learning_rate": rates}


def resized(values: Mapping[str, Any], setting: str, size: int) -> dict[str, Any]:
    """The settings that another size changes.

    Args:
        values: The settings.
        setting: The one that measures the size.
        size: What it is to be.
    """
    size *= math.prod(values[name] for name in UNITS if name in values)
    before = values[setting]
    changed: dict[str, Any] = {setting: size}
    growth = size / before if before else 1.0
    if PEAK in values:
        changed[PEAK] = -(-size * values[PEAK] // before)
        growth = changed[PEAK] / values[PEAK]
    if values.get("rank_pattern"):
        changed["rank_pattern"] = _grown_ranks(values["rank_pattern"], growth)
    gain = math.sqrt(growth) if values.get("use_rslora") else growth
    return changed | {name: _grown(values[name], gain) for name in RELATIVE if values.get(name)}


def effective(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ once a schedule is through."""
    return {PEAK: values["target_r"]} if PEAK in values and not values.get("rank_pattern") else {}


def _grown_ranks(ranks: Mapping[str, Any], growth: float) -> dict[str, Any] | None:
    """Ranks by name; those that a schedule has chosen, one triplet after the other, are of another size: forgotten."""
    chosen = any(not isinstance(rank, int) for rank in ranks.values())
    return None if chosen else {name: max(1, round(rank * growth)) for name, rank in ranks.items()}


def _grown(value: Any, gain: float) -> Any:
    """A number times ``gain``, an integer where it was one, since peft says that some are."""
    if isinstance(value, Mapping):
        return {name: _grown(item, gain) for name, item in value.items()}
    return max(1, round(value * gain)) if isinstance(value, int) else value * gain
