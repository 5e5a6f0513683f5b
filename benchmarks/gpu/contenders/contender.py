"""One who trains low-rank adapters on a quantised base: one interface for all."""

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..shapes import Shape

CLIPPED = 1.0
"""The norm that gradients are clipped to: the default of transformers' Trainer."""

LEARNING_RATE = 2e-4


class Unavailable(Exception):  # noqa: N818 - no error: the contender cannot run on this machine
    """Raised by a contender that cannot run here, with the reason."""


@dataclass(frozen=True)
class Task:
    """What every contender is given.

    Attributes:
        shape: Of the model.
        rank: Of the adapters, whose alpha is the same and which have no dropout.
        device: Where.
        sequence: The longest sequence that will come.
        scratch: A folder for files that may be shared by contenders and are thrown away.
    """

    shape: Shape
    rank: int
    device: torch.device
    sequence: int
    scratch: Path


class Contender(ABC):
    """One way of training.

    Attributes:
        name: What results call it.
        checkpointed: Whether the forward pass of all blocks is computed twice.
    """

    name: ClassVar[str]
    checkpointed: ClassVar[bool] = True

    def __init__(self, task: Task, **settings: Any) -> None:
        self.task = task
        self.settings = settings
        self.model: Any = self.adapted(task)
        self.set_factors()
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = self.new_optimizer()

    @abstractmethod
    def adapted(self, task: Task) -> nn.Module:
        """The model with its adapters, ready for ``start``."""

    @abstractmethod
    def site(self, parameter: str) -> tuple[str, str] | None:
        """The linear map that a trained parameter belongs to, and which of ``A`` and ``B`` it is."""

    def start(self, batch: Mapping[str, Tensor]) -> str:
        """Get ready for batches like this one; what was done, in words."""
        return ""

    def stop(self) -> None:  # noqa: B027 - most have nothing to undo
        """Undo ``start``."""

    def precision(self) -> AbstractContextManager[Any]:
        """What the forward pass runs within."""
        return nullcontext()

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss on a batch."""
        with self.precision():
            loss: Tensor = self.model(**batch).loss
        return loss

    def new_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer: the default of transformers' Trainer, for all."""
        return torch.optim.AdamW(self.trained, lr=LEARNING_RATE, fused=True)

    def step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """One training step; its loss, on the device."""
        loss = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, CLIPPED)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def factors(self) -> dict[str, nn.Parameter]:
        """The matrices of the adapters as ``<linear map>.A`` and ``<linear map>.B``, by names that all share."""
        found = {}
        for name, parameter in self.model.named_parameters():
            place = self.site(name) if parameter.requires_grad else None
            if place is not None:
                found[".".join(place)] = parameter
        return found

    @torch.no_grad()
    def set_factors(self) -> None:
        """Give all contenders the same adapters, which change something from the first step on."""
        for name, parameter in sorted(self.factors().items()):
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            spread = 1 / math.sqrt(parameter.shape[1]) if name.endswith(".A") else 1e-3
            values = torch.randn(parameter.shape, generator=generator) * spread
            parameter.copy_(values.to(parameter.device, parameter.dtype))
