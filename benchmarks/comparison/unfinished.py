"""A run while it trains: what lets it go on to the same bits after it was killed."""

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from inarch import Adapter, CheckpointError
from inarch_benchmarks.comparison import surroundings

INTERVAL = 120.0
"""Seconds of training between two checkpoints; what a shorter run has done is sooner done again."""

SHARE = 0.03
"""Of the time, what writing checkpoints may take: those of a large model trained in full are written less often."""

_STATE, _TENSORS, _ADAPTER = "state.json", "optimizer.safetensors", "adapter"


class Unfinished:
    """The checkpoints of one run, the newest of which is kept.

    A checkpoint holds the adapter, the optimizer, the schedule, torch's random generators and notes of the run's own.
    One that cannot be read, or that other software or hardware has written, counts as none. One that cannot be written
    is left out: the record says in the end what is wrong with the folder.

    Args:
        folder: Theirs alone; made when the first is written. None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._state: dict[str, Any] = {}
        self._tensors: dict[str, Tensor] = {}
        self._place: Path | None = None
        self._written = time.monotonic()
        self._took = 0.0

    def find(self) -> dict[str, Any]:
        """The notes of the newest checkpoint; empty where the run is to begin anew."""
        for folder in self._whole():
            with suppress(OSError, ValueError, KeyError, SafetensorError):
                state = json.loads((folder / _STATE).read_bytes())
                if state["stack"] == _stack():
                    self._tensors = load_file(folder / _TENSORS)
                    self._state, self._place = state, folder
                    return dict(state["notes"])
        return {}

    @property
    def steps(self) -> int:
        """Optimizer steps that the checkpoint found has behind it."""
        return int(self._state.get("step", 0))

    def restore_adapter(self, adapter: Adapter) -> None:
        """Write the checkpoint's adapter into this one; before the optimizer is made, since it may get new tensors."""
        if self._place is not None:
            adapter.restore_from(self._place / _ADAPTER)

    def restore_training(
        self, optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler
    ) -> None:
        """Put optimizer, schedule and random generators where they were."""
        if self._place is None:
            return
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self._tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, what = rest.partition(".")
                moments.setdefault(int(index), {})[what] = tensor
        optimizer.load_state_dict({"state": moments, "param_groups": self._state["groups"]})
        scheduler.load_state_dict(dict(self._state["schedule"]))
        torch.set_rng_state(self._tensors["random.cpu"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(self._tensors["random.cuda"])
        self._tensors = {}

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._folder is not None and time.monotonic() - self._written >= max(INTERVAL, self._took / SHARE)

    def keep(
        self,
        step: int,
        adapter: Adapter,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        notes: dict[str, Any],
    ) -> None:
        """Write a checkpoint in the place of the one before: at any moment one of them is whole."""
        assert self._folder is not None
        started = time.monotonic()
        fresh, place = self._folder / ".fresh", self._folder / f"{step:09d}"
        with suppress(OSError, CheckpointError):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            adapter.save(fresh / _ADAPTER)
            held = optimizer.state_dict()
            save_file(_tensors(held["state"]), fresh / _TENSORS)
            state = {
                "step": step,
                "groups": held["param_groups"],
                "schedule": scheduler.state_dict(),
                "stack": _stack(),
                "notes": notes,
            }
            (fresh / _STATE).write_text(json.dumps(state))
            fresh.replace(place)
            for older in self._whole():
                if older != place:
                    shutil.rmtree(older)
        self._written = time.monotonic()
        self._took = self._written - started

    def forget(self) -> None:
        """Remove the checkpoints; the record of the run is written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _whole(self) -> list[Path]:
        """The folders of whole checkpoints, the newest first."""
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted((each for each in self._folder.iterdir() if each.name.isdigit()), reverse=True)


def _tensors(state: dict[int, dict[str, Any]]) -> dict[str, Tensor]:
    """The optimizer's tensors and the states of the random generators, by name."""
    found = {
        f"optimizer.{index}.{name}": value.contiguous()
        for index, values in state.items()
        for name, value in values.items()
    }
    found["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        found["random.cuda"] = torch.cuda.get_rng_state()
    return found


def _stack() -> dict[str, Any]:
    """What the rest of a run is computed with, as JSON gives it back: it must be that of the beginning."""
    stack = {"software": surroundings.software(), "hardware": surroundings.hardware(), "code": surroundings.revision()}
    return dict(json.loads(json.dumps(stack)))
