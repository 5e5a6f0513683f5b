"""A feature of the engine: one way of computing the same faster, or in less memory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn


class Declined(Exception):  # noqa: N818 - no error: a feature says that it is of no use here
    """Raised by a feature that cannot be used on a model, with the reason; the model is as it was."""


class Feature(ABC):
    """One way of computing the same faster, or in less memory; beyond rounding it changes no result.

    Attributes:
        name: What reports call it.
        needs_whole_batch: Whether it is to see a batch of full size, rather than a row or a part of one.
    """

    name: ClassVar[str]
    needs_whole_batch: ClassVar[bool] = False

    @abstractmethod
    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        """Begin.

        Args:
            model: The model, with the adapters that are to be trained.
            batch: An example of what it will be called with, on its device; a part of one, unless it needs all of it.

        Returns:
            What was done, in a line.

        Raises:
            Declined: It cannot be used here; the model is untouched.
        """

    @abstractmethod
    def stop(self, model: nn.Module) -> None:
        """Give the model back exactly as it was before ``start``."""
