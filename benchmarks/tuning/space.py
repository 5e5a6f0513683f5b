"""The search space: what is tuned of a method, where the search starts, how many trials it has."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inarch import ConfigError
from inarch_benchmarks.tuning.rates import GRID, is_allowed

RATE = "learning_rate"

Settings = dict[str, Any]
"""The searched settings of one trial by name, the learning rate among them, as JSON types."""


@dataclass(frozen=True)
class Space:
    """What the trials of one cell range over; the same number of trials for every method makes tuning equal.

    Attributes:
        values: By setting, in ascending order; ``learning_rate`` is always there, in steps of half a decade. The
            search may leave the range of the learning rate, but not that of another setting.
        trials: How many trials there are.
        start: The other settings while the learning rate is searched; a method's own, for which a setting of it may be
            given whole (``method.to_dict()``). One that is not among the values is put before them.
        seed: Of the sampler of the other settings.
    """

    values: Mapping[str, Sequence[Any]]
    trials: int
    start: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        rates = self.values.get(RATE, ())
        if not rates or list(rates) != sorted(set(rates)) or not all(map(is_allowed, rates)):
            raise ConfigError(
                f"The search space has {RATE}: {list(rates)}; they must ascend, from {GRID[0]} to {GRID[-1]}."
            )
        if self.trials < 1:
            raise ConfigError(f"The number of trials is {self.trials}: it must be at least 1.")
        for name, values in self.values.items():
            if name != RATE and name not in self.start:
                raise ConfigError(f"The setting {name} is searched over {list(values)} without a value to start from.")

    @property
    def rates(self) -> tuple[float, ...]:
        """The declared learning rates."""
        return tuple(float(rate) for rate in self.values[RATE])

    @property
    def others(self) -> dict[str, list[Any]]:
        """The values of the other settings by name, in the order of the names, as JSON types."""
        found = {}
        for name in sorted(set(self.values) - {RATE}):
            values = [_plain(value) for value in self.values[name]]
            first = _plain(self.start[name])
            found[name] = values if first in values else [first, *values]
        return found

    @property
    def first(self) -> Settings:
        """The other settings to start from."""
        return {name: _plain(self.start[name]) for name in self.others}

    @property
    def fingerprint(self) -> str:
        """Changes when anything does that decides which trials are made."""
        parts = [self.rates, self.others, self.first, self.trials, self.seed]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
