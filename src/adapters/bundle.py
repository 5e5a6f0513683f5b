"""A bundle: the checkpoints of all adapters of one model in one folder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import CheckpointError, PlanError
from .adapter import Adapter
from .atomic import settled, write_folder
from .attachments import attachments
from .checkpoint import encoded_checkpoint

BUNDLE = "bundle.json"


def save_bundle(model: nn.Module, folder: str | Path) -> None:
    """Write every adapter of ``model`` into ``folder``, each as a checkpoint in a folder of its name, or nothing.

    Raises:
        PlanError: Nothing is attached.
        CheckpointError: The folder cannot be written; it is as it was.
    """
    found = attachments(model)
    if not found:
        raise PlanError(f"Nothing is attached to this {type(model).__name__}: there is nothing to save.")
    adapters = found.adapters.values()
    files: dict[str, Any] = {
        f"{adapter.name}/{name}": content
        for adapter in adapters
        for name, content in encoded_checkpoint(adapter.description(), adapter.tensors()).items()
    }
    order = [{"name": a.name, "enabled": a.enabled, "weight": a.weight} for a in adapters]
    write_folder(Path(folder), files | {BUNDLE: [json.dumps({"adapters": order}, indent=2).encode()]})


def load_bundle(model: nn.Module, folder: str | Path, load: Callable[[Path, str], Adapter]) -> dict[str, Adapter]:
    """Attach every adapter of a bundle in its order, with its weight, on or off as it was; all of them or none.

    Args:
        model: The base model.
        folder: The folder.
        load: Attaches the checkpoint in a folder under a name.
    """
    loaded: dict[str, Adapter] = {}
    place = settled(Path(folder).absolute())
    try:
        for entry in _entries(place):
            adapter = load(place / entry["name"], entry["name"])
            loaded[adapter.name] = adapter
            adapter.weight = entry["weight"]
            adapter.enabled = entry["enabled"]
    except BaseException:
        for adapter in reversed(loaded.values()):
            adapter.detach()
        raise
    return loaded


def _entries(folder: Path) -> list[Mapping[str, Any]]:
    try:
        entries = json.loads((folder / BUNDLE).read_text())["adapters"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no readable {BUNDLE}: load a single adapter with load.") from error
    return list(entries)
