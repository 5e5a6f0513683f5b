"""Writes down what happens in a run, so that it can be read, drawn and resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .checkpoints import checkpoint_path, keep_only, mark_complete
from .folder import RunFolder

# Times differ from run to run; everything else in the log is the same for the same seed.
_TIMES = ("_runtime", "_per_second")


def record(log: Mapping[str, Any], step: int) -> dict[str, Any]:
    """A line of metrics.jsonl from one of Trainer's logs: step and epoch, then the numbers by name; no times."""
    numbers = {key: log[key] for key in sorted(log) if not key.endswith(_TIMES) and key not in ("step", "epoch")}
    return {"step": step, "epoch": log.get("epoch"), **numbers}


def is_summary(log: Mapping[str, Any]) -> bool:
    """Whether a log is Trainer's closing one, which averages over the steps since the last resumption."""
    return "train_runtime" in log


class Recorder(TrainerCallback):
    """Appends to metrics.jsonl, marks checkpoints complete, and keeps the newest and the best of them."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Find the best checkpoint again, should the run folder have been moved since."""
        if state.best_global_step:
            state.best_model_checkpoint = str(checkpoint_path(Path(args.output_dir), state.best_global_step))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Log before every checkpoint: Trainer does not save the sum of losses since its last log."""
        control.should_log |= control.should_save or control.should_evaluate

    on_epoch_end = on_step_end

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Write a line."""
        if logs and not is_summary(logs):
            self.folder.append_line(record(logs, state.global_step))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Mark the checkpoint, then delete those that nobody needs any more."""
        checkpoints = Path(args.output_dir)
        mark_complete(checkpoint_path(checkpoints, state.global_step))
        keep_only(checkpoints, {state.global_step, state.best_global_step})
