"""Bottlenecks beside a feed-forward: they read its input and add to its output (He et al. 2021, arXiv:2110.04366)."""

from torch import Tensor

from inarch import InputAdapter, ModelError, Site

from .network import Bottleneck, Shape


class Passage:
    """Carries the input of a feed-forward from its first map to its last, within one forward pass.

    It is emptied where it is read, and a copy or a pickle starts empty.
    """

    def __init__(self) -> None:
        self.carried: Tensor | None = None

    def take(self) -> Tensor:
        """What is carried, which is then let go."""
        carried, self.carried = self.carried, None
        if carried is None:
            raise ModelError(
                "A parallel bottleneck found no input: this model runs the last map of a feed-forward without calling "
                'its first. Attach it with placement="pfeiffer".'
            )
        return carried

    def __reduce__(self) -> tuple[type["Passage"], tuple[()]]:
        return Passage, ()


class Tap(InputAdapter):
    """``x' = x``: notes what the first map of a feed-forward is given."""

    def __init__(self, passage: Passage) -> None:
        super().__init__()
        self.passage = passage

    def forward(self, x: Tensor) -> Tensor:
        """The input as it is."""
        self.passage.carried = x
        return x


class Beside(Bottleneck):
    """``y' = y + s (U act(D x + b_D) + b_U)`` at the last map of a feed-forward; x is what its first map was given.

    Args:
        passage: Where x comes from; ``None`` where one module is the whole feed-forward.
    """

    def __init__(self, site: Site, shape: Shape, passage: Passage | None) -> None:
        super().__init__(site, shape)
        self.passage = passage

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with what the network makes of the feed-forward's input added."""
        return self.added(y, x if self.passage is None else self.passage.take())
