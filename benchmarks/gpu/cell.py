"""One measurement, and the files of results: written after every cell, so that a run that was cut short can go on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..side_by_side import machine

PACKAGES = ("bitsandbytes", "triton", "accelerate", "liger-kernel", "unsloth", "unsloth_zoo", "trl", "xformers")
"""Beside those that ``side_by_side.machine`` tells the versions of; they may be absent."""


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        stage: The stage it belongs to.
        name: What it is called in the results of its stage.
        settings: What the stage needs to know to measure it.
        group: Cells of one stage and group may share a process.
    """

    stage: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    group: str = ""

    def to_json(self) -> dict[str, Any]:
        """For ``from_json``."""
        return {"stage": self.stage, "name": self.name, "settings": self.settings, "group": self.group}


class Results:
    """The file of one stage.

    Args:
        folder: Where the files of all stages are.
        stage: The stage.
        rehearsed: Whether the figures are of a rehearsal, and mean nothing.
    """

    def __init__(self, folder: Path, stage: str, *, rehearsed: bool = False) -> None:
        self.path = folder / f"gpu_{stage}.json"
        self.document: dict[str, Any] = {"stage": stage, "rehearsed": rehearsed, "runs": [], "cells": {}}
        if self.path.exists():
            self.document = json.loads(self.path.read_text())
        if self.document["rehearsed"] != rehearsed:
            kind = "no rehearsal" if rehearsed else "a rehearsal"
            raise SystemExit(f"{self.path} is of {kind}: take another folder.")

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Note where and with what the cells that follow are measured."""
        self.document["runs"].append(dict(facts))

    def missing(self, cells: list[Cell]) -> list[Cell]:
        """The cells that were not tried yet."""
        return [cell for cell in cells if cell.name not in self.document["cells"]]

    def add(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Write one cell down."""
        self.document["cells"][name] = {"run": len(self.document["runs"]) - 1, **outcome}
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.document, indent=2) + "\n")
        unfinished.replace(self.path)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """What came of a cell; nothing, if it was not tried."""
        return self.document["cells"].get(name, {})  # type: ignore[no-any-return]


def facts() -> dict[str, Any]:
    """Where and with what the figures are measured."""
    found = machine()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "gpu_memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return found
