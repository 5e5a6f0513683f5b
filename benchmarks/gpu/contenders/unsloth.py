"""Unsloth, which loads the same bytes from a checkpoint of bitsandbytes' form."""

import os
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from ..checkpoint import saved
from .contender import Contender, Task, Unavailable


class Unsloth(Contender):
    """``FastLanguageModel`` with its own checkpointing, which keeps the inputs of blocks in host memory."""

    name = "Unsloth"

    def adapted(self, task: Task) -> nn.Module:
        """The model, as Unsloth loads and adapts it."""
        os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "UNSLOTH_DISABLE_STATISTICS": "1"}
        os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(task.scratch / "unsloth_compiled"))
        try:
            from unsloth import FastLanguageModel
        except (ImportError, NotImplementedError, RuntimeError) as error:
            raise Unavailable(f"Unsloth cannot be imported: {error}") from error
        folder = saved(task.shape, task.device, task.scratch)
        model, _ = FastLanguageModel.from_pretrained(
            str(folder), max_seq_length=task.sequence, dtype=torch.bfloat16, load_in_4bit=True, local_files_only=True
        )
        adapted = FastLanguageModel.get_peft_model(
            model,
            r=task.rank,
            lora_alpha=task.rank,
            lora_dropout=0.0,
            bias="none",
            target_modules=list(task.shape.linears),
            use_gradient_checkpointing="unsloth",
            random_state=0,
            max_seq_length=task.sequence,
        )
        return adapted.train()  # type: ignore[no-any-return]

    def site(self, parameter: str) -> tuple[str, str] | None:
        """As peft names them."""
        site, found, matrix = parameter.removeprefix("base_model.model.").partition(".lora_")
        return (site, matrix[0]) if found else None

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast, as its trainer puts it around the forward pass."""
        return torch.autocast(self.task.device.type, torch.bfloat16)
