"""The budget schedule: how many triplets are kept at each optimizer step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """``b(t)``, arXiv:2303.10512, section 3.3, and the steps at which triplets are pruned to it.

    ``b0`` while ``t <= t_i``, ``b_T`` once ``t >= T - t_f``, and between them
    ``b_T + (b0 - b_T) (1 - (t - t_i) / (T - t_i - t_f))^3``, rounded down.

    Attributes:
        initial: b0, the number of triplets at the start.
        target: b_T, how many are kept in the end.
        steps: T, the length of the training.
        initial_warmup: t_i, steps before the budget begins to fall.
        final_warmup: t_f, steps at the end in which it stays at its target.
        interval: Steps from one pruning to the next. In the final warm-up every step prunes.
    """

    initial: int
    target: int
    steps: int
    initial_warmup: int
    final_warmup: int
    interval: int

    @property
    def settled(self) -> int:
        """The step from which on the budget stays at its target, and importance is measured no more."""
        return self.steps - self.final_warmup

    def budget(self, step: int) -> int:
        """The number of triplets to keep at a step; the first step is 1."""
        if step <= self.initial_warmup:
            return self.initial
        if step >= self.settled:
            return self.target
        left = 1 - (step - self.initial_warmup) / (self.settled - self.initial_warmup)
        return int(self.target + (self.initial - self.target) * left**3)

    def prunes(self, step: int) -> bool:
        """Whether triplets are pruned at a step."""
        if step <= self.initial_warmup:
            return False
        return step > self.settled or step >= self.steps or step % self.interval == 0
