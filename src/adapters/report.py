"""The report: what an adapter reaches in a model, in numbers."""

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import shortened
from .merge_report import MergeReport


@dataclass(frozen=True)
class Report:
    """What a plan or an adapter says of itself.

    Attributes:
        method: Name of the method.
        sites: Number of base modules that are adapted.
        trainable: Number of trained parameters in all.
        trainable_added: Those of the method's own modules.
        trainable_head: Those of the new task head.
        base: Number of the base model's parameters, the head included.
        coverage: Share of the backbone's matrix weights, embeddings aside, that lie in adapted modules or are trained
            themselves.
        reached: Number of adapted modules by role.
        unreached: The modules whose matrices are neither; the parameters, where they lie in no known kind of module.
        unheard: Linear maps and convolutions of the backbone that no adapter can be put at, since the model goes around
            them.
        merge: What merging has lost, of an adapter that is merged.
    """

    method: str
    sites: int
    trainable: int
    trainable_added: int
    trainable_head: int
    base: int
    coverage: float
    reached: dict[str, int]
    unreached: tuple[str, ...]
    unheard: tuple[str, ...] = ()
    merge: MergeReport | None = None

    @property
    def share(self) -> float:
        """Trained parameters as a share of the base model's."""
        return self.trainable / self.base if self.base else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        found = {**asdict(self), "unreached": list(self.unreached), "unheard": list(self.unheard), "share": self.share}
        return found | {"merge": self.merge.to_dict() if self.merge else None}

    def __str__(self) -> str:
        roles = ", ".join(f"{role} {count}" for role, count in self.reached.items()) or "none"
        lines = [
            f"{self.method}: {self.trainable:,} trainable of {self.base:,} parameters ({self.share:.3%})",
            f"  sites      {self.sites} ({roles})",
            f"  coverage   {self.coverage:.1%} of the backbone's matrix weights",
            f"  head       {self.trainable_head:,} parameters, trained and saved" if self.trainable_head else "",
            f"  unreached  {shortened(self.unreached)}" if self.unreached else "",
            f"  unheard    {shortened(self.unheard)}: the model goes around them" if self.unheard else "",
            f"  merged     {self.merge}" if self.merge else "",
        ]
        return "\n".join(line for line in lines if line)
