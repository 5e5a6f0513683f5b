"""A training run on transformers' Trainer, from a config to a run folder."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DataError, TrainingError, shortened
from .arguments import best_metric
from .checkpoints import is_last, newest_complete, remove_incomplete, trainer_state
from .config import RunConfig
from .curve import draw_curve
from .folder import RunFolder
from .measure import Metrics, logits, measure
from .preparation import Preparation, prepare
from .quiet import quiet_transformers
from .run_engine import run_engine
from .versions import versions

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from .trainer import AdapterTrainer


@dataclass(frozen=True)
class RunResult:
    """What a finished run gave.

    Attributes:
        folder: The run folder.
        metrics: The metrics of the best adapter, by split.
    """

    folder: RunFolder
    metrics: dict[str, Metrics]


def train(
    config: RunConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence["TrainerCallback"] = (),
    say: Callable[[str], None] = lambda line: None,
) -> RunResult:
    """Train an adapter as the config says.

    Everything is checked before anything is written. The run folder keeps what a failed or killed run had, and
    ``resume`` goes on from its newest complete checkpoint to the same bits as an uninterrupted run (on hardware whose
    kernels are deterministic).

    Args:
        config: The run.
        resume: Go on with the run that lies in the output folder.
        overwrite: Replace the run that lies there.
        callbacks: Trainer callbacks that watch, such as a progress bar.
        say: Takes lines for the user.

    Raises:
        InarchError: Whatever cannot be, with the fix; a run that has begun is marked as failed.
    """
    folder = RunFolder(config.output)
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite replaces it: give one of them.")
    if not resume and not overwrite:
        folder.check_free()
    if resume and folder.config() and folder.read("run.json")["status"] == "finished":
        say(f"The run in {folder.path} has finished already.")
        return RunResult(folder, folder.read("metrics.json"))
    with quiet_transformers(), _memory_errors():
        preparation = prepare(config)
        if resume:
            _check_same(preparation, folder)
        _report(preparation, say)
        trainer = make_trainer(preparation, folder, callbacks)
        with run_engine(trainer, preparation, say):
            if not resume:
                _begin(preparation, folder, overwrite)
            with _status(folder):
                _fit(trainer, folder)
        with _status(folder):
            return _finish(trainer, preparation, folder)  # measured as anybody measures it again: without the engine


def make_trainer(
    preparation: Preparation, folder: RunFolder, callbacks: Sequence["TrainerCallback"] = ()
) -> "AdapterTrainer":
    """The Trainer of a run, and its optimizer; nothing is written.

    Raises:
        ConfigError: Training arguments that Trainer refuses, such as an optimizer that is not installed.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback

    from .recorder import Recorder
    from .trainer import AdapterTrainer

    stopping = preparation.config.early_stopping
    stoppers = [EarlyStoppingCallback(stopping.patience, stopping.threshold)] if stopping else []
    task = preparation.task

    def numbers(prediction: Any) -> dict[str, float]:
        everything = task.metrics(logits(prediction.predictions), prediction.label_ids)
        return {name: everything[name] for name in task.metric_names}

    arguments = preparation.arguments
    try:
        trainer = AdapterTrainer(
            adapter=preparation.adapter,
            model=preparation.pretrained.model,
            args=arguments,
            train_dataset=preparation.examples["train"],
            eval_dataset=preparation.examples["validation"],
            data_collator=task.collator(preparation.tokenizer),
            compute_metrics=numbers,
            callbacks=[Recorder(folder), *stoppers, *callbacks],
        )
        trainer.create_optimizer()
    except (ValueError, ImportError) as error:
        raise ConfigError(f"training: {' '.join(str(error).split())}") from error
    arguments.output_dir = str(folder.checkpoints)
    trainer.remove_callback(PrinterCallback)  # it prints every log to stdout
    return trainer


def _begin(preparation: Preparation, folder: RunFolder, overwrite: bool) -> None:
    if overwrite:
        folder.remove()
    folder.check_free()
    folder.begin(
        preparation.config.to_dict(),
        versions(),
        facts=dict(preparation.task.facts),
        data=preparation.fingerprints(),
    )


def _fit(trainer: "AdapterTrainer", folder: RunFolder) -> None:
    """Train to the end, from the newest complete checkpoint where there is one, and restore the best adapter."""
    from transformers import TrainerState

    from .recorder import is_summary, record

    remove_incomplete(folder.checkpoints)
    checkpoint = newest_complete(folder.checkpoints)
    log = [] if checkpoint is None else trainer_state(checkpoint)["log_history"]
    folder.replace_lines(record(line, line["step"]) for line in log if not is_summary(line))
    folder.mark("running")
    if checkpoint is not None and is_last(checkpoint):
        # Killed between its last step and its end. Trainer would train one more step before it noticed.
        trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        trainer.load_final()
    else:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def _finish(trainer: "AdapterTrainer", preparation: Preparation, folder: RunFolder) -> RunResult:
    preparation.adapter.finish()
    preparation.adapter.save(str(folder.adapter))
    metrics = {
        name: measure(trainer, preparation.task, preparation.examples[name]) for name in preparation.splits.measured()
    }
    task = type(preparation.task)
    folder.write("metrics.json", metrics)
    draw_curve(folder.lines(), task.metric_names, best_metric(preparation.config, task), folder.curve)
    folder.mark("finished", best_step=trainer.state.best_global_step, steps=trainer.state.global_step)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return RunResult(folder, metrics)


@contextmanager
def _status(folder: RunFolder) -> Iterator[None]:
    """Marks the run when it ends otherwise than well."""
    try:
        yield
    except KeyboardInterrupt:
        folder.mark("interrupted")
        raise
    except Exception as error:
        folder.mark("failed", error=str(error))
        raise


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Says what to do when the memory of the GPU does not suffice."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "The GPU has run out of memory. Lower training.per_device_train_batch_size (and raise "
            "training.gradient_accumulation_steps as much), lower data.max_length, or turn on gradient checkpointing."
        ) from error


def _check_same(preparation: Preparation, folder: RunFolder) -> None:
    """Refuse to resume another run than the one that lies in the folder."""
    here, there = (_flat(config.to_dict()) for config in (preparation.config, folder.config()))
    changed = [name for name in sorted({*here, *there} - {"output"}) if here.get(name) != there.get(name)]
    if changed:
        first = changed[0]
        raise ConfigError(
            f"The run in {folder.path} has another config ({shortened(changed)}): {first} is {there.get(first)!r} "
            f"there and {here.get(first)!r} here. Resume with its own config, or set another output."
        )
    data = folder.read("run.json")["data"]
    for name, fingerprint in preparation.fingerprints().items():
        if data.get(name) != fingerprint:
            raise DataError(f"The {name} data have changed since the run in {folder.path} began. Start a new run.")


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _report(preparation: Preparation, say: Callable[[str], None]) -> None:
    splits = preparation.splits
    rows = ", ".join(f"{len(table)} {name}" for name, table in {"training": splits.train, **splits.measured()}.items())
    say(f"{rows} rows; {preparation.task.summary()}")
    say(str(preparation.adapter.report()))
    fresh = preparation.pretrained.fresh
    if fresh:
        say(f"New, because the checkpoint of the base does not hold them: {shortened(fresh)}.")
