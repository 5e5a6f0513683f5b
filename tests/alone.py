"""The answers of every row of a batch by itself, which a routed batch is held against."""

from typing import Any

import torch
from torch import Tensor, nn

import inarch

from families import logits


def alone(model: nn.Module, batch: dict[str, Tensor], rows: list[str | None], answer: Any = logits) -> Tensor:
    """The answers of every row by itself, with its adapter alone turned on."""
    answers = []
    for row, name in enumerate(rows):
        inarch.activate(model, *([name] if name else []))
        answers.append(answer(model, {key: value[row : row + 1] for key, value in batch.items()}))
    return torch.cat(answers)


def routed(model: nn.Module, batch: dict[str, Tensor], rows: list[str | None], *, gradients: bool = False) -> Tensor:
    """The answers of all rows at once."""
    with inarch.route(model, rows), torch.set_grad_enabled(gradients):
        return model(**batch).logits.detach()  # type: ignore[no-any-return]
