"""The methods in the arena, with what a tiny model needs: data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contender:
    """A method, as the arena attaches it: with its default targets.

    Attributes:
        settings: What is not its default: ranks that fit tiny maps, and the length of the training.
        starts_at_base: Whether the adapted model computes, untrained, what the base computes.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    starts_at_base: bool = True


STEPS = 2
"""Optimizer steps in a cell: after one, LoRA's A has had no gradient yet, since B was zero."""

CONTENDERS: Mapping[str, Contender] = {
    "lora": Contender({"rank": 2}),
    "adalora": Contender({"initial_rank": 2, "target_rank": 1, "steps": 5 * STEPS}),
    "bottleneck": Contender(),
    "prefix": Contender(starts_at_base=False),
    "bitfit": Contender(),
    "ia3": Contender(),
}
"""By the name of the method."""
