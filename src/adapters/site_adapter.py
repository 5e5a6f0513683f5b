"""What a method builds for a site: the base of every kind of adapter, and the change of weights it may equal."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class WeightDelta:
    """What an adapter adds to the parameters of its base module; ``None`` where it adds nothing.

    Attributes:
        weight: Shape (out_features, in_features); of a convolution or a norm, the shape of its weight.
        bias: Shape (out_features,).
        others: What is added to other parameters of the module, by their names and in their shapes.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    others: Mapping[str, Tensor] = field(default_factory=dict)

    def by_parameter(self) -> dict[str, Tensor]:
        """The changes by the name of the parameter in its module."""
        named = {"weight": self.weight, "bias": self.bias}
        return {key: change for key, change in named.items() if change is not None} | dict(self.others)


class SiteAdapter(nn.Module, ABC):
    """What a method puts at one site.

    Its subclasses say where it takes part: ``OutputAdapter`` at a module's output, ``InputAdapter`` at its input,
    ``AttentionAdapter`` among the keys and values of an attention, ``ExpertsAdapter`` inside fused experts,
    ``PromptAdapter`` before the embedded tokens, and ``ModelAdapter`` in a way of its own.
    """

    def delta(self) -> WeightDelta | None:
        """The same function as a change of the base parameters, in this adapter's dtype.

        ``None`` says that there is no such change, and merging is refused. An adapter whose change depends on the base
        weight reads it by ``site.weight()`` when it is asked, since other adapters may be merged below it.
        """
        return None
