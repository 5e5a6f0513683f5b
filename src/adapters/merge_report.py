"""What merging into quantised weights has lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import shortened


@dataclass(frozen=True)
class MergeReport:
    """How far the merged weights of a quantised base are from what they should be.

    Attributes:
        errors: ``||W' - (W + delta)|| / ||delta||`` by the name of the site, for every weight that is stored quantised,
            or was before it was merged to floating point. With 1 as much is lost as without the adapter.
    """

    errors: Mapping[str, float]

    @property
    def worst(self) -> float:
        """The largest of the errors; 0 where there are none."""
        return max(self.errors.values(), default=0.0)

    @property
    def mean(self) -> float:
        """Their mean."""
        return sum(self.errors.values()) / len(self.errors) if self.errors else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {"errors": dict(self.errors), "worst": self.worst, "mean": self.mean}

    def __str__(self) -> str:
        if not self.errors:
            return "exact but for one rounding of each weight"
        worst = sorted(self.errors, key=lambda name: -self.errors[name])
        return (
            f"off by {self.mean:.2%} of the adapter's change on average, {self.worst:.2%} at worst "
            f"({shortened(worst, 1)})"
        )
