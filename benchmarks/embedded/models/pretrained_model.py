"""A base that is pretrained here: what its kinds share."""

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from inarch_benchmarks.comparison.examples import Examples
from inarch_benchmarks.comparison.model import Base, BenchmarkModel
from inarch_benchmarks.comparison.quiet import quiet_transformers
from inarch_benchmarks.embedded.models.general import mean_loss, with_backbone
from inarch_benchmarks.embedded.optimisation import Optimisation, optimise
from inarch_benchmarks.embedded.stored import fingerprint_of, stored_base


class PretrainedModel(BenchmarkModel):
    """A base that is pretrained on examples made here, and stored with its pretraining head.

    Attributes:
        version: Of whatever decides the weights and is code rather than data; raise it when that changes.
        optimisation: How it is pretrained; ``work`` is its number of steps.
        seed: Of the first weights and of the order of the examples.
    """

    version: ClassVar[int] = 1
    optimisation: ClassVar[Optimisation]
    seed: ClassVar[int] = 0

    @abstractmethod
    def data_fingerprint(self) -> str:
        """The SHA-256 of what it is pretrained on."""

    @abstractmethod
    def network(self) -> Any:
        """A transformers model with its pretraining head and the weights that ``torch``'s generator draws."""

    @abstractmethod
    def training(self) -> Examples:
        """What it is pretrained on."""

    @abstractmethod
    def held_out(self) -> Examples:
        """What its general loss is measured on; the same at every call, and no part of ``training``."""

    def save_more(self, folder: Path) -> None:
        """Save what belongs to the model besides its weights, such as a tokenizer."""

    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the weights."""
        return fingerprint_of(
            {
                "model": self.name,
                "version": self.version,
                "data": self.data_fingerprint(),
                "config": self.network().config.to_dict(),
                "optimisation": asdict(self.optimisation),
                "seed": self.seed,
            }
        )

    def prepare(self, on_step: Callable[[int], None]) -> Base:
        """The base from the cache, or pretrained and put there."""
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            on_step(1)

        stored = stored_base(self.name, self.fingerprint(), lambda folder: self._pretrain(folder, step))
        on_step(self.work - done)
        return Base(self.name, str(stored.folder), stored.fingerprint)

    def general_loss(self, base: Base, backbone: nn.Module) -> float:
        """The pretraining loss over the held-out examples."""
        model, held_out = _pretrained(type(self), base.place)
        return mean_loss(with_backbone(model, backbone), held_out)

    def _pretrain(self, folder: Path, on_step: Callable[[], None]) -> dict[str, Any]:
        """Pretrain, save everything into ``folder`` and return what is worth writing down."""
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.network()
        recipe = self.optimisation
        optimise(model, model.parameters(), self.training(), recipe, seed=self.seed, on_step=on_step)
        with quiet_transformers():
            model.save_pretrained(folder)
        self.save_more(folder)
        return {
            "optimisation": asdict(recipe),
            "held_out_loss": mean_loss(model, self.held_out()),
            "seconds": round(time.perf_counter() - started, 1),
            "torch": torch.__version__,
        }


@lru_cache(maxsize=4)
def _pretrained(kind: type[PretrainedModel], place: str) -> tuple[Any, Examples]:
    """The pretraining model and the held-out examples, loaded once a process."""
    model = kind()
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        pretrained = type(model.network()).from_pretrained(place, local_files_only=True)
    return pretrained.eval(), model.held_out()
