"""The checkpoints of a run: which of them are whole, which are kept.

Trainer writes the files of a checkpoint one after the other, so that a killed process can leave half of them. A
checkpoint counts only once it is marked, and nothing is deleted before that.
"""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

_MARK = "complete"
_PREFIX = "checkpoint-"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"{_PREFIX}{step}"


def mark_complete(checkpoint: Path) -> None:
    """Say that every file of a checkpoint has been written."""
    (checkpoint / _MARK).touch()


def newest_complete(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step, if any."""
    complete = [path for path in _checkpoints(folder) if (path / _MARK).is_file()]
    return max(complete, key=_step, default=None)


def remove_incomplete(folder: Path) -> None:
    """Delete what killed processes left half-written."""
    for path in _checkpoints(folder):
        if not (path / _MARK).is_file():
            shutil.rmtree(path)


def keep_only(folder: Path, steps: Collection[int | None]) -> None:
    """Delete the checkpoints of all other steps."""
    for path in _checkpoints(folder):
        if _step(path) not in steps:
            # The mark goes first: a checkpoint half-deleted must not pass for a whole one.
            (path / _MARK).unlink(missing_ok=True)
            shutil.rmtree(path)


def trainer_state(checkpoint: Path) -> dict[str, Any]:
    """What Trainer wrote about itself: the log so far, the best metric, the states of the callbacks."""
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state


def is_last(checkpoint: Path) -> bool:
    """Whether training had stopped, by early stopping or at its last step, when the checkpoint was written."""
    control = trainer_state(checkpoint)["stateful_callbacks"]["TrainerControl"]
    return bool(control["args"]["should_training_stop"])


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and path.name[len(_PREFIX) :].isdecimal()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name[len(_PREFIX) :])
