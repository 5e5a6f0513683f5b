"""The contract of a base model that methods are compared on."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn


@dataclass(frozen=True)
class Base:
    """A base model that lies ready.

    Attributes:
        name: What suites call it.
        place: A folder, or an id on the Hugging Face hub, that ``from_pretrained`` takes.
        fingerprint: Changes when its weights do.
    """

    name: str
    place: str
    fingerprint: str


class BenchmarkModel(ABC):
    """A base model that a script of ours makes. Any other name in a suite is a folder or an id on the hub.

    Attributes:
        name: What suites call it.
        work: How long making it takes, in any unit; ``prepare`` reports the same amount.
    """

    name: ClassVar[str]
    work: ClassVar[int]

    @abstractmethod
    def prepare(self, on_step: Callable[[int], None]) -> Base:
        """The base from the cache, or made and put there.

        Args:
            on_step: Called with the work done since its last call; in all it is given ``work``, also by the cache.
        """

    @abstractmethod
    def general_loss(self, base: Base, backbone: nn.Module) -> float:
        """The loss of what the base was pretrained on, over held-out data, with ``backbone`` in its place.

        Args:
            base: As ``prepare`` gave it: its pretraining head is taken from there.
            backbone: The ``base_model`` of an adapted model, in evaluation mode; it is not changed.

        Returns:
            Mean loss in nats an item.
        """
