"""The base model: the network pretrained on glyphs, kept in the user's cache folder under a fingerprint."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from inarch_benchmarks.embedded.cache import cache_folder, publish, read_record
from inarch_benchmarks.embedded.glyphs import Alphabet, Glyphs, draw
from inarch_benchmarks.embedded.network import CONFIG, load_backbone, network, pixel_values, save_backbone
from inarch_benchmarks.embedded.optimisation import Optimisation, accuracy, optimise

VERSION = 1
"""Of whatever decides the weights and is code rather than a number; raise it when that changes."""

WEIGHTS = "model.safetensors"


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


@dataclass(frozen=True)
class Base:
    """A pretrained base model on disk.

    Attributes:
        folder: Holds ``config.json`` and ``model.safetensors``.
        fingerprint: SHA-256 over everything that decides its weights.
        origin: Whether it was in the cache, made now, or made anew because the cached one was damaged.
        record: What was written down when it was made: recipe, accuracy on held-out glyphs, seconds, versions.
    """

    folder: Path
    fingerprint: str
    origin: Literal["cached", "pretrained", "rebuilt"]
    record: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of the weights on disk."""
        return (self.folder / WEIGHTS).stat().st_size

    def weights(self) -> dict[str, Tensor]:
        """The weights of the backbone, by name."""
        return load_backbone(self.folder)


def fingerprint(pretraining: Pretraining, glyphs: Glyphs) -> str:
    """SHA-256 over everything that decides the weights, up to the rounding of another processor."""
    import transformers

    decisive = {
        "version": VERSION,
        "network": CONFIG,
        "pretraining": asdict(pretraining),
        "glyphs": glyphs.sha256(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def pretrained_base(pretraining: Pretraining, on_step: Callable[[], None] = lambda: None) -> Base:
    """The base model from the cache, or pretrained and put there.

    Args:
        pretraining: How it is made.
        on_step: Called after every step of a pretraining; never for a base from the cache.
    """
    glyphs = draw(pretraining.alphabet)
    identity = fingerprint(pretraining, glyphs)
    folder = cache_folder() / f"demo-base-{identity[:16]}"
    if (record := _record_of(folder, identity)) is not None:
        return Base(folder, identity, "cached", record)
    damaged = folder.exists()

    def fill(fresh: Path) -> dict[str, Any]:
        return {"fingerprint": identity, **_pretrain(pretraining, glyphs, fresh, on_step)}

    publish(folder, fill)
    return Base(folder, identity, "rebuilt" if damaged else "pretrained", _record_of(folder, identity) or {})


def _record_of(folder: Path, identity: str) -> dict[str, Any] | None:
    record = read_record(folder)
    return record if record and record.get("fingerprint") == identity and WEIGHTS in record["sha256"] else None


def _pretrain(pretraining: Pretraining, glyphs: Glyphs, folder: Path, on_step: Callable[[], None]) -> dict[str, Any]:
    """Pretrain, save the backbone into ``folder`` and return what is worth writing down."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(pretraining.seed)
    order = torch.randperm(len(glyphs.images), generator=generator)
    images, labels = pixel_values(glyphs.images)[order], torch.from_numpy(glyphs.labels)[order]
    held_out, rest = slice(pretraining.held_out), slice(pretraining.held_out, None)
    model = network(pretraining.alphabet.classes, pretraining.seed)
    optimise(
        model,
        model.parameters(),
        images[rest],
        labels[rest],
        pretraining.optimisation,
        seed=pretraining.seed,
        on_step=on_step,
    )
    save_backbone(model, folder)
    return {
        "pretraining": asdict(pretraining),
        "held_out_accuracy": accuracy(model, images[held_out], labels[held_out]),
        "seconds": round(time.perf_counter() - started, 1),
        "torch": torch.__version__,
    }
