"""A budget: a number of trained parameters, or a share of the base's."""

import math
from dataclasses import dataclass

from torch import nn

import inarch
from inarch import ConfigError, PlanError


@dataclass(frozen=True)
class Budget:
    """How many parameters a method may train, the new task head not counted.

    Attributes:
        number: The parameters, or the share of the base's parameters without the head, above 0 and at most 1.
        is_share: Which of the two.
    """

    number: float
    is_share: bool

    @classmethod
    def parse(cls, given: str | float) -> "Budget":
        """A budget as a suite writes it: ``5000``, ``"5,000"``, ``1e6`` or ``"0.5%"``.

        Raises:
            ConfigError: It is neither a number of parameters nor a share.
        """
        text = str(given).strip()
        is_share = text.endswith("%")
        try:
            number = float(text.removesuffix("%").replace(",", "").replace("_", ""))
        except ValueError:
            number = math.nan
        fits = 0 < number <= 100 if is_share else 0 < number < math.inf and number == int(number)
        if isinstance(given, bool) or not fits:
            raise ConfigError(
                f"The budget {given!r} is neither a number of parameters, such as 5000, nor a share of the base's, "
                'such as "0.5%".'
            )
        return cls(number / 100 if is_share else number, is_share)

    def parameters(self, model: nn.Module) -> int:
        """The number of parameters that it allows in ``model``, at least 1."""
        return max(1, round(self.number * parameters_without_head(model))) if self.is_share else int(self.number)

    def __str__(self) -> str:
        return f"{100 * self.number:g}%" if self.is_share else f"{int(self.number):,}"


def parameters_of(given: str | float, model: nn.Module) -> int:
    """The number of parameters that a budget allows in ``model``.

    Args:
        given: The budget as a suite writes it.
        model: The base model.

    Raises:
        ConfigError: It is neither a number of parameters nor a share.
    """
    return Budget.parse(given).parameters(model)


def parameters_without_head(model: nn.Module) -> int:
    """The number of a base model's parameters, those of a new task head not counted; a tied one counts once."""
    try:
        report = inarch.plan(model, "head").report()
    except PlanError:  # it has no new head
        return sum(parameter.numel() for parameter in model.parameters())
    return report.base - report.trainable_head
