"""Checkpoints: a folder with ``adapter_model.safetensors`` and ``adapter_config.json``.

For a method that peft knows, both files are in peft's own format. Whatever Inarch knows besides (method, settings,
plugin, base model) is one JSON record in the header of the tensor file, so that it can never part from the tensors. For
a method that peft does not know, ``adapter_config.json`` is that record.

Only trained tensors are written, together with the buffers of the method's own modules. Only safetensors is read.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from .atomic import Buffer, settled, write_folder
from .base_record import base_record
from .part import base_modules, base_parameters
from .peft_format import PeftFormat
from .plan import Plan
from .tensor_file import encoded

TENSORS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
STEPS = "inarch.steps"
"""Name of the tensor that holds the optimizer steps so far, for a method with a schedule."""
VERSION = version("inarch")
FORMAT = 1
"""Version of the record. A reader refuses a newer one."""


@dataclass(frozen=True)
class Origin:
    """Where a method came from, so that a machine without it can say what to install.

    Attributes:
        plugin: Name of the entry point.
        distribution: Name of the package to install; empty for a plugin that no distribution brought.
        version: The version that was installed.
    """

    plugin: str
    distribution: str
    version: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read from its folder.

    Attributes:
        folder: Where it was read from.
        tensors: Every tensor by its name in the file.
        config: ``adapter_config.json``.
        record: What Inarch wrote besides; ``None`` in a checkpoint written by peft.
    """

    folder: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    record: dict[str, Any] | None


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of its adapter beside the tensors; it stays the same from one save to the next.

    Attributes:
        record: What Inarch keeps, for the header of the tensor file.
        config: The content of ``adapter_config.json``.
    """

    record: dict[str, Any]
    config: dict[str, Any]


def describe(plan: Plan, origin: Origin) -> Description:
    """The description of an adapter with this plan."""
    record = _record(plan, origin)
    return Description(record, _config(plan, record))


def write_checkpoint(folder: str | Path, description: Description, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint so that both of its files appear together or not at all.

    Raises:
        CheckpointError: The folder cannot be written; it is as it was.
    """
    write_folder(Path(folder), encoded_checkpoint(description, tensors))


def encoded_checkpoint(description: Description, tensors: Mapping[str, Tensor]) -> dict[str, Iterable[Buffer]]:
    """The files of a checkpoint by name, in pieces."""
    metadata = {"format": "pt", "inarch": json.dumps(description.record)}
    config = json.dumps(description.config, indent=2, sort_keys=True)
    return {TENSORS: encoded(tensors, metadata), CONFIG: [config.encode()]}


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a checkpoint from a folder, or by its id from the hub.

    Raises:
        CheckpointError: There is none, or a file of it cannot be read.
    """
    place = _located(folder)
    tensors, metadata = _read_tensors(place / TENSORS)
    record = json.loads(metadata["inarch"]) if "inarch" in metadata else None
    if record and record["format"] > FORMAT:
        raise CheckpointError(
            f"{place} was written by Inarch {record['inarch']} in format {record['format']}, and this version reads up "
            f"to {FORMAT}: pip install -U inarch."
        )
    return Checkpoint(place, tensors, _read_config(place / CONFIG), record)


def _record(plan: Plan, origin: Origin) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "inarch": VERSION,
        "method": plan.method.name,
        "settings": plan.method.to_dict(),
        "plugin": origin.plugin,
        "distribution": origin.distribution,
        "version": origin.version,
        "sites": [site.name for site in plan.sites],
        "trained": list(plan.trained),
        "base": base_record(plan.model, plan.anatomy, plan.trained),
    }


def _config(plan: Plan, record: dict[str, Any]) -> dict[str, Any]:
    peft = plan.method.peft
    modules = _trained_modules(plan) if peft else None
    if peft is None or modules is None or not peft.covers(plan.method, plan.sites):
        return {"inarch": record}
    common = {
        "peft_type": peft.peft_type,
        "task_type": PeftFormat.task_type(plan.model),
        "base_model_name_or_path": record["base"]["name"] or None,
        "inference_mode": True,
        "modules_to_save": modules or None,
        "target_modules": _target_modules(plan),
    }
    return {key: common[key] for key in peft.common} | peft.config(plan.method, plan.sites)


def _target_modules(plan: Plan) -> list[str]:
    """The sites as peft names them: by the last word of their names where that finds the same ones, else in full."""
    sites = [site.name for site in plan.sites]
    words = {name.rsplit(".", 1)[-1] for name in sites}
    found = {name for name, _ in base_modules(plan.model) if name.rsplit(".", 1)[-1] in words}
    return sorted(words) if found == set(sites) else sites


def _trained_modules(plan: Plan) -> list[str] | None:
    """The trained parameters as whole modules, as peft names them; ``None`` where they are not whole modules."""
    if not plan.trained:
        return []
    trained = set(plan.trained)
    everything = [name for name, _, _ in base_parameters(plan.model)]
    modules: list[str] = []
    for name in plan.trained:
        owner = _outermost_trained(name, trained, everything)
        if not owner:
            return None
        if owner not in modules:
            modules.append(owner)
    return modules


def _outermost_trained(name: str, trained: set[str], everything: Sequence[str]) -> str:
    """The outermost module around the parameter ``name`` whose parameters are all trained; empty if there is none."""
    words = name.split(".")[:-1]
    for length in range(1, len(words) + 1):
        candidate = ".".join(words[:length])
        if trained.issuperset(key for key in everything if key.startswith(f"{candidate}.")):
            return candidate
    return ""


def _located(folder: str | Path) -> Path:
    place = settled(Path(folder).absolute())
    if place.is_dir():
        return place
    if place.exists() or Path(folder).is_absolute() or str(folder).count("/") != 1:
        raise CheckpointError(f"{folder} is not a folder: name the folder that holds {TENSORS}.")
    return _downloaded(str(folder))


def _downloaded(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download  # here, since a local checkpoint does not need it

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[TENSORS, CONFIG]))
    except Exception as error:  # the hub's client raises many kinds; each means that there is no checkpoint to read
        raise CheckpointError(f"{hub_id} is neither a folder here nor reachable on the hub: {error}") from error


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.exists():
        others = sorted(entry.name for entry in path.parent.glob("adapter_model.*"))
        hint = f" Only safetensors is read, and it holds {', '.join(others)}." if others else ""
        raise CheckpointError(f"{path.parent} holds no {TENSORS}.{hint} Name the folder that an adapter was saved to.")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}. Save the adapter again.") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} holds no {CONFIG}: save the adapter again.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no JSON object: save the adapter again.")
    return config
