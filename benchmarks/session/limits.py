"""How much of a suite one session may run."""

import time
from dataclasses import dataclass, field


@dataclass
class Limits:
    """A budget of runs and of time; what is begun is finished.

    Attributes:
        runs: How many may be begun; None for all.
        minutes: For how long runs are begun; None for ever.
        begun: How many were.
    """

    runs: int | None = None
    minutes: float | None = None
    begun: int = 0
    _started: float = field(default_factory=time.monotonic)

    def allow(self) -> bool:
        """Whether another run may be begun."""
        if self.runs is not None and self.begun >= self.runs:
            return False
        return self.minutes is None or time.monotonic() - self._started < 60 * self.minutes

    def affordable(self, workers: int) -> int | None:
        """How many more runs may be begun, as far as can be told; None for all."""
        by_runs = None if self.runs is None else max(0, self.runs - self.begun)
        if self.minutes is None or self.begun <= workers:
            return by_runs
        passed = time.monotonic() - self._started
        by_time = int(self.begun * max(0.0, 60 * self.minutes - passed) / passed)
        return by_time if by_runs is None else min(by_runs, by_time)
