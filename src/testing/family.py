"""A family: a tiny model of one architecture, and batches for it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """Tiny models of one architecture, built from its configuration: nothing is downloaded.

    Attributes:
        name: What the laws' results call it.
        make: Builds the model with a number of layers, its weights drawn from PyTorch's generator.
        sample: Draws a batch with a number of rows, its labels under ``labels``; the model called with it returns
            something with a ``loss`` and ``logits``.
        has_new_head: Whether the model has a new task head, which is trained with every adapter.
    """

    name: str
    make: Callable[[int], nn.Module]
    sample: Callable[[int], dict[str, Tensor]]
    has_new_head: bool = False

    def model(self, seed: int = 0, layers: int = 2) -> nn.Module:
        """A model in evaluation mode, the same one for the same seed."""
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what libraries warn of when they are imported is not for a test to answer
            return self.make(layers).eval()

    def batch(self, seed: int = 1, rows: int = 2) -> dict[str, Tensor]:
        """A batch with labels, the same one for the same seed."""
        torch.manual_seed(seed)
        return self.sample(rows)

    def inputs(self, seed: int = 1, rows: int = 2) -> dict[str, Tensor]:
        """The same batch without its labels, for a call that computes no loss."""
        return {name: value for name, value in self.batch(seed, rows).items() if name != "labels"}
