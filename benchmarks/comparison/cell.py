"""A cell: one contender on one task and model, with everything decided but the seed and what tuning chooses."""

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.specification import RunSpecification

FIRST_TUNING_SEED = 1_000_000
"""Tuning runs count from here, test runs from 0: they never share a seed."""


_NOT_DECISIVE = {"contender", "kind", "wanted", "size", "place", "parameters", "peak"}


class Cell(BaseModel):
    """One contender on one task and model.

    Attributes:
        contender: Its label.
        kind: Of the contender.
        method: Name of the method.
        settings: Every setting of the method, its size fitted to the budget.
        wanted: Trained parameters of the budget, the head aside; None without one.
        size: Rank, prefix length or whatever was solved for the budget; None where nothing was.
        parameters: Trained parameters that count, the head aside: those that training leaves.
        peak: Trained parameters when training begins, the head aside.
        pretrained: Whether it starts from the pretrained base.
        task: Name of the task.
        data: Its fingerprint.
        metric: The task's main metric.
        chance: What the metric is for guesses.
        model: Name of the base model.
        place: Where it lies.
        weights: Its fingerprint.
        recipe: With its number of steps.
        learning_rate: Of runs that are not tuned; None where tuning chooses it.
        search: What tuning tries, by name; empty where nothing is tuned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))

    contender: str
    kind: Literal["method", "reference", "control"]
    method: str
    settings: dict[str, Any] = {}
    wanted: int | None = None
    size: int | None = None
    parameters: int = 0
    peak: int = 0
    pretrained: bool
    task: str
    data: str
    metric: str
    chance: float
    model: str
    place: str
    weights: str
    recipe: Recipe
    learning_rate: float | None
    search: dict[str, list[Any]] = {}

    @cached_property
    def key(self) -> str:
        """The first 20 hexadecimal digits of the SHA-256 of what decides its runs; labels are not among it."""
        decisive = self.model_dump(mode="json", exclude=_NOT_DECISIVE)
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def base(self) -> Base:
        """Its base model."""
        return Base(self.model, self.place, self.weights)

    def run(self, seed: int, purpose: Literal["tuning", "test"], chosen: dict[str, Any]) -> RunSpecification:
        """The specification of one of its runs.

        Args:
            seed: Of the run.
            purpose: Of the run.
            chosen: What tuning has chosen or tries, by name; without a learning rate, the cell's own counts.
        """
        settings = {name: value for name, value in chosen.items() if name != "learning_rate"}
        rate = chosen.get("learning_rate", self.learning_rate)
        assert rate is not None
        return RunSpecification(
            task=self.task,
            data=self.data,
            model=self.model,
            weights=self.weights,
            pretrained=self.pretrained,
            method=self.method,
            settings=self.settings | settings,
            learning_rate=rate,
            recipe=self.recipe,
            seed=seed,
            purpose=purpose,
        )
