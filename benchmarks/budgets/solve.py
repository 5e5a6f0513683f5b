"""The size of a method that meets a budget, found by planning: nothing is attached, and no memory is used.

A budget is met by what is effective, which is left when training has ended (``Method.effective``). A method that trains
more than it keeps, such as AdaLoRA with its initial rank, says so by a peak above its budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from torch import nn

import inarch
from inarch import ConfigError, InarchError, Method

TOLERANCE = 0.5
"""How far the nearest size may be from a budget, as a share of it."""


@dataclass(frozen=True)
class Fitted:
    """A method with what it trains, in the size that is nearest to a budget if there is one.

    Attributes:
        method: The method.
        size: What ``sized`` was given; ``None`` for a method that is left as it was, since it has no size or no budget.
        parameters: What it trains without the head, by its effective sizes.
        peak: What it trains without the head when training begins.
        deviation: By how much ``parameters`` differs from the budget, as a share of it; ``None`` without one.
    """

    method: Method
    size: int | None
    parameters: int
    peak: int
    deviation: float | None


@dataclass(frozen=True)
class _Count:
    """What one size comes to."""

    sites: int
    parameters: int
    peak: int


def fit(
    model: nn.Module, method: Method, wanted: int, *, tolerance: float = TOLERANCE, train: Sequence[str] = ()
) -> Fitted:
    """The method in the size whose number of trained parameters, without the head, is nearest to ``wanted``.

    A size at which the method would reach fewer modules than it does as it was given is too large: LoRA, for one,
    leaves out maps that are smaller than its rank.

    Args:
        model: The base model, on any device; on ``meta`` a model of any size takes seconds.
        method: The method with its settings.
        wanted: The budget; see ``Budget.parameters``.
        tolerance: The largest deviation.
        train: Names of parameters that are trained besides and counted as the head's.

    Raises:
        ConfigError: The nearest size deviates by more; the message names the sizes around the budget.
        InarchError: Whatever ``inarch.plan`` raises for the smallest size.
    """
    if wanted < 1:
        raise ConfigError(f"A budget of {wanted} parameters is none: it must be at least 1.")
    if method.sized(1) is None:
        return counted(model, method, wanted, train=train)
    sizes = _Sizes(model, method, train)
    around = [_smallest_alike(sizes, size) for size in _around(sizes, wanted)]
    possible = {size: count for size in around if (count := sizes.at(size)) is not None}
    size = min(possible, key=lambda size: abs(possible[size].parameters - wanted))
    count = possible[size]
    deviation = count.parameters / wanted - 1
    if abs(deviation) > tolerance:
        named = " and ".join(f"{size} ({count.parameters:,} parameters)" for size, count in possible.items())
        raise ConfigError(
            f"{method.name} cannot train about {wanted:,} parameters in this {type(model).__name__}: the nearest it "
            f"has is size {named}. Choose another budget, or other targets."
        )
    return Fitted(sizes.method(size), size, count.parameters, count.peak, deviation)


def counted(model: nn.Module, method: Method, wanted: int | None = None, *, train: Sequence[str] = ()) -> Fitted:
    """The method as it is, with what it trains.

    Args:
        model: The base model.
        method: The method with its settings.
        wanted: A budget that it is held against.
        train: Names of parameters that are trained besides and counted as the head's.

    Raises:
        InarchError: Whatever ``inarch.plan`` raises.
    """
    count = _count(model, method, train)
    deviation = None if wanted is None else count.parameters / wanted - 1
    return Fitted(method, None, count.parameters, count.peak, deviation)


class _Sizes:
    """What the sizes of one method come to in one model."""

    def __init__(self, model: nn.Module, method: Method, train: Sequence[str]) -> None:
        self._model = model
        self._train = train
        self._method = method
        self._smallest = _count(model, self.method(1), train)
        given = _count_or_none(model, method, train)
        self._sites = min(self._smallest.sites, given.sites) if given else self._smallest.sites
        self.at = cache(self._at)

    def method(self, size: int) -> Method:
        """The method in one size."""
        sized = self._method.sized(size)
        assert sized is not None
        return sized

    def trains(self, size: int) -> int | None:
        """The effective parameters of one size; ``None`` where it is too large for the model."""
        count = self.at(size)
        return None if count is None else count.parameters

    def _at(self, size: int) -> _Count | None:
        if size == 1:
            return self._smallest
        try:
            method = self.method(size)
        except InarchError:  # settings of its own that bound its size
            return None
        count = _count_or_none(self._model, method, self._train)
        return None if count is None or count.sites < self._sites else count


def _around(sizes: _Sizes, wanted: int) -> tuple[int, ...]:
    """The largest size below a budget and the next one, which is at or above it, or too large for the model.

    Sizes are doubled until the budget is reached, then halved between the last two. A size is a parameter at least, so
    that a method that stops growing is given up at some.
    """
    if not _is_below(sizes, 1, wanted):
        return (1,)
    low, high = 1, 2
    while high < 2 * wanted and _is_below(sizes, high, wanted):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_below(sizes, middle, wanted) else (low, middle)
    return low, high


def _smallest_alike(sizes: _Sizes, size: int) -> int:
    """The smallest size that trains as many parameters as this one: some methods take steps, or stop growing."""
    low, high, parameters = 0, size, sizes.trains(size)
    while parameters is not None and high - low > 1 and sizes.trains(high - 1) == parameters:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_below(sizes, middle, parameters) else (low, middle)
    return high


def _is_below(sizes: _Sizes, size: int, wanted: int) -> bool:
    """Whether a size fits the model and trains fewer parameters than wanted."""
    trains = sizes.trains(size)
    return trains is not None and trains < wanted


def _count_or_none(model: nn.Module, method: Method, train: Sequence[str]) -> _Count | None:
    try:
        return _count(model, method, train)
    except InarchError:
        return None


def _count(model: nn.Module, method: Method, train: Sequence[str]) -> _Count:
    """What planning says that a method trains; neither the head nor what is trained besides is counted."""
    besides = sum(parameter.numel() for name, parameter in model.named_parameters() if name in train)
    report = inarch.plan(model, method, train=train).report()
    peak = report.trainable - report.trainable_head - besides
    effective = method.effective()
    if effective == method:
        return _Count(report.sites, peak, peak)
    left = inarch.plan(model, effective, train=train).report()
    return _Count(report.sites, left.trainable - left.trainable_head - besides, peak)
