"""Adapting the base model to digits: one method at one seed."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import inarch
from inarch_benchmarks.comparison.examples import TensorExamples
from inarch_benchmarks.embedded.digits import CLASSES, Part, digits
from inarch_benchmarks.embedded.network import network, pixel_values
from inarch_benchmarks.embedded.optimisation import Optimisation, accuracy, optimise

STEPS = 100
"""Optimizer steps of an adaptation: 25 times through 100 labels."""

BATCH_SIZE = 25


@dataclass(frozen=True)
class Contender:
    """A method with its settings, on one of the two bases.

    Attributes:
        name: What it is called in tables.
        method: Name of the method.
        learning_rate: Tuned for it alone.
        settings: Of the method.
        pretrained: Whether the base is pretrained; if not, its weights are random.
    """

    name: str
    method: str
    learning_rate: float
    settings: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True


@dataclass(frozen=True)
class Run:
    """What came of one contender at one seed.

    Attributes:
        contender: Its name.
        seed: Of the labelled digits, the head, the method's own weights and the order of training.
        accuracy: On the test digits, or the validation digits when learning rates are tuned.
        trainable: Number of trained parameters, the head included.
        base_parameters: Number of parameters of the base model.
        seconds: Of training, on one thread.
    """

    contender: str
    seed: int
    accuracy: float
    trainable: int
    base_parameters: int
    seconds: float


def adapt(
    contender: Contender,
    seed: int,
    weights: dict[str, Tensor],
    *,
    steps: int = STEPS,
    on_validation: bool = False,
    save_to: Path | None = None,
) -> Run:
    """Adapt the base to the labelled digits of a seed and measure it on digits it has not seen.

    For one seed every contender gets the same digits in the same order and starts from the same head.

    Args:
        contender: The method.
        seed: Of everything that is drawn by chance.
        weights: Of the pretrained backbone.
        steps: Optimizer steps.
        on_validation: Measure on the validation digits, not on the test digits.
        save_to: Folder to save the adapter to.
    """
    split = digits(seed)
    model = base_model(seed, weights if contender.pretrained else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = inarch.attach(model, contender.method, **contender.settings)
    started = time.perf_counter()
    optimise(
        model,
        adapter.parameters(),
        TensorExamples(**_tensors(split.training)),
        Optimisation(contender.learning_rate, steps, BATCH_SIZE),
        seed=seed,
    )
    seconds = time.perf_counter() - started
    measured = accuracy(model, *_tensors(split.validation if on_validation else split.test).values())
    if save_to is not None:
        adapter.save(str(save_to))
    return Run(contender.name, seed, measured, adapter.num_trainable, adapter.report().base, seconds)


def base_model(seed: int, weights: dict[str, Tensor] | None) -> Any:
    """The network with a new head for digits, and ``weights`` in its backbone; random ones without."""
    model = network(CLASSES, seed)
    if weights is not None:
        model.base_model.load_state_dict(weights)
    return model.eval()


def reloaded_accuracy(folder: Path, weights: dict[str, Tensor], seed: int) -> float:
    """Test accuracy of an adapter loaded from ``folder`` onto a fresh base with another head."""
    model = base_model(seed + 1, weights)
    inarch.load(model, folder)
    return accuracy(model, *_tensors(digits(seed).test).values())


def _tensors(part: Part) -> dict[str, Tensor]:
    return {"pixel_values": pixel_values(part.images), "labels": torch.from_numpy(part.labels)}
