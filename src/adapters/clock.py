"""The clock: what an adapter with a penalty or a schedule knows of the optimizer steps that concern it."""

from collections.abc import Callable, Iterable
from typing import Any
from weakref import ReferenceType, WeakSet, ref

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .step import Step

SAMPLED_VALUES = 4


class Clock:
    """The optimizer steps of one adapter.

    A copy or a pickle of it keeps ``steps`` alone: the optimizers of the original are not those of the copy.

    Attributes:
        steps: Optimizer steps so far.
        hidden: Changes of the parameters without a step, since the last step that was seen.
    """

    def __init__(self, steps: int = 0) -> None:
        self.steps = steps
        self.restart()

    def __reduce__(self) -> tuple[type["Clock"], tuple[int]]:
        return Clock, (self.steps,)

    def restart(self) -> None:
        """Forget the optimizers: the parameters are others now, or have been written from outside."""
        self.hidden = 0
        self._running: ReferenceType[Optimizer] | None = None
        self._in_closure = False
        self._round: set[int] = set()
        self._optimizers: WeakSet[Optimizer] = WeakSet()
        self._forwards = 0
        self._sample: Tensor | None = None

    def begins(self, optimizer: Optimizer) -> bool:
        """Whether a step begins here, rather than within the step of an optimizer around this one."""
        outermost = self._running is None or self._running() is None
        if outermost:
            self._running = ref(optimizer)
        return outermost

    def ends(self, optimizer: Optimizer) -> bool:
        """Whether the step that has begun ends here."""
        outermost = self._running is not None and self._running() is optimizer
        if outermost:
            self._running = None
        return outermost

    def within(self, closure: Callable[[], Any]) -> Any:
        """What a closure gives that an optimizer calls within its step."""
        self._in_closure = True
        try:
            return closure()
        finally:
            self._in_closure = False

    def count(self, optimizer: Optimizer, held: Iterable[nn.Parameter]) -> Step | None:
        """Count a step of an optimizer that holds these of the adapter's parameters.

        Optimizers that share out the parameters make one step of the adapter in a round, counted with the first of
        them. A round is over when a parameter is stepped again.
        """
        mine = {id(parameter) for parameter in held}
        goes_on = bool(self._round) and self._round.isdisjoint(mine)
        self._round = self._round | mine if goes_on else mine
        self._optimizers.add(optimizer)
        self.hidden, self._forwards, self._sample = 0, 0, None
        if goes_on:
            return None
        self.steps += 1
        return Step(self.steps, tuple(self._optimizers))

    def look(self, parameters: Iterable[nn.Parameter]) -> None:
        """Compare the parameters with the last look, in a forward pass, and count in ``hidden`` if they have changed.

        Reading values takes time, and on an accelerator waits for it, so this is done rarely: at the forward passes 2,
        4, 8, ... since the last step that was seen, which a loop without hidden steps hardly reaches, and at every
        one once something has changed. The first one counts too where no step has been seen yet.
        """
        if not self._in_closure:
            self._running = None  # left over from a step that has failed
        self._forwards += 1
        early = self._forwards == 1 and bool(self._optimizers)
        if not self.hidden and (early or self._forwards.bit_count() > 1):
            return
        sample = _sample(parameters)
        if sample is not None and self._sample is not None:
            self.hidden += not torch.equal(sample, self._sample)
        self._sample = sample


def _sample(parameters: Iterable[nn.Parameter]) -> Tensor | None:
    """A few values of every parameter. Not versions: those do not tell of changes through ``parameter.data``."""
    flat = [parameter.detach().reshape(-1) for parameter in parameters if not parameter.is_meta]
    values = [tensor[:: max(1, tensor.numel() // SAMPLED_VALUES)] for tensor in flat]
    return torch.cat([value.to(values[0].device, torch.float32) for value in values]) if values else None
