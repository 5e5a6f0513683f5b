"""The glyph base: the network pretrained on glyphs."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inarch_benchmarks.comparison.examples import TensorExamples
from inarch_benchmarks.embedded.glyphs import Alphabet, Glyphs, draw
from inarch_benchmarks.embedded.network import CONFIG, load_backbone, network, pixel_values, save_network
from inarch_benchmarks.embedded.optimisation import Optimisation, accuracy, optimise
from inarch_benchmarks.embedded.stored import WEIGHTS, StoredBase, fingerprint_of, stored_base

__all__ = ["WEIGHTS", "Base", "Pretraining", "fingerprint", "parts", "pretrained_base"]

VERSION = 2
"""Of whatever decides the weights and is code rather than a number; raise it when that changes."""


@dataclass(frozen=True)
class Pretraining:
    """How the base model is made: supervised on the classes of glyphs, whose head is then dropped.

    Attributes:
        alphabet: The glyphs.
        optimisation: 640 steps see each glyph nine times.
        held_out: Glyphs that are kept back to measure accuracy on.
        seed: Of the first weights and of the order of the glyphs.
    """

    alphabet: Alphabet = field(default_factory=Alphabet)
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(learning_rate=2e-3, steps=640, batch_size=128, weight_decay=0.05)
    )
    held_out: int = 1000
    seed: int = 0


class Base(StoredBase):
    """A stored glyph base."""

    def weights(self) -> dict[str, Tensor]:
        """The weights of the backbone, by name."""
        return load_backbone(self.folder)


def fingerprint(pretraining: Pretraining, glyphs: Glyphs) -> str:
    """SHA-256 over everything that decides the weights, up to the rounding of another processor."""
    return fingerprint_of(
        {"version": VERSION, "network": CONFIG, "pretraining": asdict(pretraining), "glyphs": glyphs.sha256()}
    )


def pretrained_base(pretraining: Pretraining, on_step: Callable[[], None] = lambda: None) -> Base:
    """The base model from the cache, or pretrained and put there.

    Args:
        pretraining: How it is made.
        on_step: Called after every step of a pretraining; never for a base from the cache.
    """
    glyphs = drawn(pretraining.alphabet)
    stored = stored_base(
        "glyph-vit",
        fingerprint(pretraining, glyphs),
        lambda folder: _pretrain(pretraining, glyphs, folder, on_step),
    )
    return Base(**vars(stored))


@cache
def drawn(alphabet: Alphabet) -> Glyphs:
    """The glyphs of an alphabet, drawn once."""
    return draw(alphabet)


def parts(pretraining: Pretraining, glyphs: Glyphs) -> tuple[TensorExamples, TensorExamples]:
    """The glyphs to train on, and those held out."""
    generator = torch.Generator().manual_seed(pretraining.seed)
    order = torch.randperm(len(glyphs.images), generator=generator)
    images, labels = pixel_values(glyphs.images)[order], torch.from_numpy(glyphs.labels)[order]
    held_out, rest = slice(pretraining.held_out), slice(pretraining.held_out, None)
    return (
        TensorExamples(pixel_values=images[rest], labels=labels[rest]),
        TensorExamples(pixel_values=images[held_out], labels=labels[held_out]),
    )


def _pretrain(pretraining: Pretraining, glyphs: Glyphs, folder: Path, on_step: Callable[[], None]) -> dict[str, Any]:
    """Pretrain, save the network into ``folder`` and return what is worth writing down."""
    started = time.perf_counter()
    training, held_out = parts(pretraining, glyphs)
    model = network(pretraining.alphabet.classes, pretraining.seed)
    optimise(model, model.parameters(), training, pretraining.optimisation, seed=pretraining.seed, on_step=on_step)
    save_network(model, folder)
    return {
        "pretraining": asdict(pretraining),
        "held_out_accuracy": accuracy(model, held_out.tensors["pixel_values"], held_out.tensors["labels"]),
        "seconds": round(time.perf_counter() - started, 1),
        "torch": torch.__version__,
    }
