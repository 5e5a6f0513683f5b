"""transformers' Trainer, with checkpoints that hold the adapter instead of the model.

Written against transformers 5.17 to 5.23. Three of Trainer's methods are replaced: ``_save``, ``_load_from_checkpoint``
and ``_load_best_model``. Adapter tensors are read and written as safetensors only. The states of the optimizer, the
scheduler and the random generators stay Trainer's own files (``optimizer.pt``, ``scheduler.pt``, ``rng_state.pth``),
which it reads by ``torch.load(..., weights_only=True)``: tensors and plain containers, no code.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from ..errors import TrainingError
from .checkpoints import checkpoint_path


@contextmanager
def _adapted(model: Any) -> Iterator[None]:
    """Inside, a quantised model passes for one with an adapter, as it is; Trainer knows peft's adapters only."""
    before = getattr(model, "_hf_peft_config_loaded", False)
    model._hf_peft_config_loaded = True
    try:
        yield
    finally:
        model._hf_peft_config_loaded = before


class AdapterTrainer(Trainer):
    """Trains what is attached to a model, and stops at a loss that is not finite.

    It writes nothing until it trains; before that, ``args.output_dir`` is to be set.
    """

    def __init__(self, *, adapter: Any, model: Any, args: TrainingArguments, **settings: Any) -> None:
        # Trainer makes its output folder at once, and a run may be refused yet; the true one is set afterwards.
        with _adapted(model), tempfile.TemporaryDirectory() as scratch:
            args.output_dir = scratch
            super().__init__(model=model, args=args, **settings)
        self.adapter = adapter

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a batch, in training and in evaluation.

        Raises:
            TrainingError: The loss is NaN or infinite; raised before the backward pass.
        """
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = result[0] if return_outputs else result
        if not torch.isfinite(loss).all():
            raise TrainingError(self._not_finite(float(loss.detach().mean())))
        return result

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Trainer's optimizer, with the learning rates that the method gives its tensors."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        rates = self.adapter.learning_rate_factors()
        if any(factor != 1.0 for factor in rates.values()):
            groups = [split for group in optimizer.param_groups for split in _split(group, rates)]
            optimizer.param_groups[:] = groups
        return optimizer

    def _not_finite(self, loss: float) -> str:
        if not self.is_in_train:
            return f"The loss of the evaluation is {loss}. Train again with a lower learning rate."
        step = self.state.global_step + int(self.model.training)
        rate = self._get_learning_rate()
        precision = "in bf16 instead of fp16, " if self.args.fp16 else ""
        return (
            f"The loss is {loss} at step {step} (learning rate {rate:.3g}). "
            f"Try a learning rate of {self.args.learning_rate / 10:.3g}, {precision}a warm-up (training.warmup_steps), "
            "or a lower training.max_grad_norm."
        )

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self.adapter.save(output_dir or self.args.output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.adapter.restore_from(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self.load_final()

    def load_final(self) -> None:
        """Restore the adapter of the best checkpoint, or of the last where no evaluation has chosen one."""
        step = self.state.best_global_step or self.state.global_step
        self._load_from_checkpoint(str(checkpoint_path(Path(self.args.output_dir), step)))


def _split(group: dict[str, Any], rates: Mapping[int, float]) -> list[dict[str, Any]]:
    """One parameter group as several, one for each factor of the learning rate."""
    members: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        members.setdefault(rates.get(id(parameter), 1.0), []).append(parameter)
    return [group | {"params": those, "lr": group["lr"] * factor} for factor, those in members.items()]
