"""From the ``training:`` section of a config to ``transformers.TrainingArguments``."""

import dataclasses
import typing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..errors import ConfigError
from .config import RunConfig
from .task import Task

if TYPE_CHECKING:
    from transformers import TrainingArguments

_FIXED = "the run depends on it. Take it out"
_SAVING = "checkpoints follow the evaluations. Set eval_strategy and eval_steps"
_BEST = "set early_stopping.metric"
_HUB = "a run stays on this machine. Take it out"

# What a run must decide itself to keep its promises, and what to do instead of setting it.
_OURS = {
    "output_dir": "set output, at the top of the config",
    "seed": "set seed, at the top of the config",
    "data_seed": "set seed, at the top of the config",
    "metric_for_best_model": _BEST,
    "greater_is_better": _BEST,
    "save_strategy": _SAVING,
    "save_steps": _SAVING,
    "save_total_limit": "the newest and the best checkpoint are kept. Take it out",
    "save_only_model": "a run must be able to resume. Take it out",
    "resume_from_checkpoint": "use inarch train --resume",
    "ignore_data_skip": "a resumed run must see the same batches. Take it out",
    "restore_callback_states_from_checkpoint": "a resumed run keeps its patience. Take it out",
    "auto_find_batch_size": "a run that starts over cannot be resumed. Set per_device_train_batch_size",
    "enable_jit_checkpoint": "use inarch train --resume",
    "eval_on_start": "a resumed run would evaluate twice. Take it out",
    "load_best_model_at_end": "the best adapter is always kept. Take it out",
    "remove_unused_columns": "the task gives exactly the columns that the model takes. Take it out",
    "label_names": _FIXED,
    "include_for_metrics": _FIXED,
    "batch_eval_metrics": _FIXED,
    "eval_do_concat_batches": _FIXED,
    "prediction_loss_only": _FIXED,
    "logging_nan_inf_filter": "a loss that is not finite stops the run. Take it out",
    "report_to": "metrics go to metrics.jsonl. Take it out",
    "disable_tqdm": "the run shows its own progress. Take it out",
    "do_train": _FIXED,
    "do_eval": _FIXED,
    "do_predict": _FIXED,
    "deepspeed": "a run is one process. Take it out",
    "fsdp": "a run is one process. Take it out",
    "push_to_hub": _HUB,
}

# What transformers takes without a look, and fails on, or trains nothing with, in the middle of a run.
_LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
}


def training_arguments(config: RunConfig, task: type[Task]) -> "TrainingArguments":
    """The arguments of a run: the user's, over defaults, under what keeps a run exact; without an output folder.

    Raises:
        ConfigError: A name that transformers does not know or that is not the user's to set, or a wrong value.
    """
    from transformers import TrainingArguments

    user = checked_settings(config.training)
    values = {"eval_strategy": "epoch", "logging_steps": 10, "dataloader_pin_memory": _has_accelerator()} | user
    strategy = str(values["eval_strategy"])
    if strategy not in ("epoch", "steps"):
        raise ConfigError(
            f'training.eval_strategy is "{strategy}": the best adapter is chosen by evaluations. Set epoch or steps.'
        )
    metric = best_metric(config, task)
    fixed: dict[str, Any] = {
        "seed": config.seed,
        "save_strategy": strategy,
        "save_steps": values.get("eval_steps") or values["logging_steps"],
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": metric != "loss",
        "restore_callback_states_from_checkpoint": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    try:
        return TrainingArguments(**(values | fixed))
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"training: {' '.join(str(error).split())}") from error


def best_metric(config: RunConfig, task: type[Task]) -> str:
    """The metric that chooses the best adapter.

    Raises:
        ConfigError: The task has no such metric.
    """
    metric = config.early_stopping.metric if config.early_stopping else None
    if metric is None:
        return task.best_metric
    known = ("loss", *task.metric_names)
    if metric not in known:
        raise ConfigError(f'early_stopping.metric is "{metric}": {task.name} has {", ".join(known)}.')
    return metric


def checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The user's training arguments, each turned into the type that transformers declares for it.

    Raises:
        ConfigError: As ``training_arguments``.
    """
    from transformers import TrainingArguments

    known = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    hints = typing.get_type_hints(TrainingArguments)
    for name in settings:
        _check_name(name, known)
    values = {name: _converted(name, value, hints[name]) for name, value in settings.items()}
    for name in _LEAST.keys() & values:
        if values[name] < _LEAST[name]:
            raise ConfigError(f"training.{name} is {values[name]}: it must be at least {_LEAST[name]}.")
    if values.get("num_train_epochs", 1) <= 0:
        raise ConfigError(f"training.num_train_epochs is {values['num_train_epochs']}: it must be above 0.")
    return values


def _check_name(name: str, known: set[str]) -> None:
    if name in _OURS or name.startswith("hub_"):
        raise ConfigError(f"training.{name} is not for a config to set: {_OURS.get(name, _HUB)}.")
    if name not in known:
        close = get_close_matches(name, known - set(_OURS), n=1)
        guess = f'Did you mean "{close[0]}"?' if close else "The names are those of transformers.TrainingArguments."
        raise ConfigError(f'unknown setting "training.{name}". {guess}')


def _converted(name: str, value: Any, hint: Any) -> Any:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(f"training.{name} is {value!r}: {reason[0].lower()}{reason[1:]}.") from error


def _has_accelerator() -> bool:
    """Whether pinned memory is of use; without it, torch warns at every epoch."""
    import torch

    return torch.accelerator.is_available()
