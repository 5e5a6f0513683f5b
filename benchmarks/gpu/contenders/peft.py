"""peft with bitsandbytes, trained as transformers' Trainer does with ``bf16=True``; the same with Liger's kernels."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from ..build import as_bitsandbytes, build
from .contender import Contender, Task, Unavailable


class Peft(Contender):
    """``peft.get_peft_model`` on ``Linear4bit``, autocast to bfloat16, every block checkpointed.

    Embeddings and head stay in bfloat16: ``prepare_model_for_kbit_training``, which peft's guide names, would cast
    them to float32 and take more time and memory.
    """

    name = "peft + bitsandbytes"

    def adapted(self, task: Task) -> nn.Module:
        """The model, as peft adapts it."""
        import peft

        model = build(task.shape, "nf4", as_bitsandbytes, task.device)
        model.is_loaded_in_4bit = True  # which is how peft knows such models
        self.change(model)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        config = peft.LoraConfig(
            r=task.rank, lora_alpha=task.rank, lora_dropout=0.0, target_modules=list(task.shape.linears)
        )
        return peft.get_peft_model(model, config).train()  # type: ignore[no-any-return]

    def change(self, model: Any) -> None:
        """Change the model before peft adapts it."""

    def site(self, parameter: str) -> tuple[str, str] | None:
        """As peft names them."""
        site, found, matrix = parameter.removeprefix("base_model.model.").partition(".lora_")
        return (site, matrix[0]) if found else None

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast, as accelerate puts it around the forward pass."""
        return torch.autocast(self.task.device.type, torch.bfloat16)


class PeftWithLiger(Peft):
    """With Liger's kernels in the model, as ``use_liger_kernel=True`` in transformers' Trainer."""

    name = "peft + bitsandbytes + Liger"

    def change(self, model: Any) -> None:
        """Let Liger change this model."""
        try:
            from liger_kernel.transformers import _apply_liger_kernel_to_instance
        except ImportError as error:
            raise Unavailable(f"liger-kernel cannot be imported: {error}") from error
        if self.task.device.type != "cuda":
            raise Unavailable("Liger's kernels need a GPU")
        _apply_liger_kernel_to_instance(model=model)
