"""The specification of a run: everything that decides its result, and the name that follows from it."""

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from inarch_benchmarks.comparison.recipe import Recipe


class RunSpecification(BaseModel):
    """One method with all of its settings, on one task and model, at one seed.

    Attributes:
        task: Name of the task.
        data: Fingerprint of its data.
        model: Name of the base model.
        weights: Fingerprint of its weights.
        pretrained: Whether the base has its pretrained weights; if not, they are drawn by ``seed``.
        method: Name of the method.
        settings: Every setting of the method, as JSON types.
        learning_rate: The highest of the schedule.
        recipe: How it is trained; ``steps`` is given.
        seed: Of the training examples, their order, the head and the method's own weights.
        purpose: ``tuning`` runs are scored on validation data alone, ``test`` runs on test data too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))

    task: str
    data: str
    model: str
    weights: str
    pretrained: bool = True
    method: str
    settings: dict[str, Any]
    learning_rate: float
    recipe: Recipe
    seed: int
    purpose: Literal["tuning", "test"]

    @cached_property
    def id(self) -> str:
        """The first 20 hexadecimal digits of the SHA-256 of the specification as canonical JSON."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]
