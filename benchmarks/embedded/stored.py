"""A base model on disk, in the user's cache folder under a fingerprint."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inarch_benchmarks.embedded.cache import cache_folder, publish, read_record

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class StoredBase:
    """A pretrained base model on disk.

    Attributes:
        folder: Holds ``config.json`` and ``model.safetensors``, the pretraining head among the weights.
        fingerprint: SHA-256 over everything that decides its weights.
        origin: Whether it was in the cache, made now, or made anew because the cached one was damaged.
        record: What was written down when it was made: recipe, how well it does on held-out data, seconds, versions.
    """

    folder: Path
    fingerprint: str
    origin: Literal["cached", "pretrained", "rebuilt"]
    record: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of the weights on disk."""
        return (self.folder / WEIGHTS).stat().st_size


def fingerprint_of(decisive: Mapping[str, Any]) -> str:
    """SHA-256 over what decides the weights of a base, up to the rounding of another processor.

    Args:
        decisive: What is particular to the base, as JSON types; versions of the libraries come with it.
    """
    import torch
    import transformers

    everything = {**decisive, "torch": torch.__version__, "transformers": transformers.__version__}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def stored_base(name: str, identity: str, pretrain: Callable[[Path], dict[str, Any]]) -> StoredBase:
    """The base from the cache, or pretrained and put there.

    Args:
        name: What its folder's name begins with.
        identity: Its fingerprint.
        pretrain: Saves the model into the folder it is given and returns what is worth writing down.
    """
    folder = cache_folder() / f"{name}-{identity[:16]}"
    if (record := _record_of(folder, identity)) is not None:
        return StoredBase(folder, identity, "cached", record)
    damaged = folder.exists()
    publish(folder, lambda fresh: {"fingerprint": identity, **pretrain(fresh)})
    return StoredBase(folder, identity, "rebuilt" if damaged else "pretrained", _record_of(folder, identity) or {})


def _record_of(folder: Path, identity: str) -> dict[str, Any] | None:
    record = read_record(folder)
    return record if record and record.get("fingerprint") == identity and WEIGHTS in record["sha256"] else None
