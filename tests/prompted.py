"""Models with a prompt attached, and what a prompt is held against."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import inarch
from inarch_plugins.prompt import PromptTuning

from families import perturb

LENGTH = 3


IDS = torch.tensor([[5, 6, 7, 8, 9]])


TOKENS = IDS.shape[1]


GREEDY: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


def attached(make: Callable[[], nn.Module], length: int = LENGTH) -> tuple[Any, inarch.Adapter]:
    model = make().double()
    torch.manual_seed(1)
    adapter = inarch.attach(model, PromptTuning(length=length))
    perturb(adapter, scale=0.5)
    return model, adapter


def vectors(adapter: inarch.Adapter) -> Tensor:
    return adapter.modules[""].vectors.detach()


def embedded(model: Any, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        return model.get_input_embeddings()(ids)


def padded(model: Any, count: int, *, left: bool) -> dict[str, Tensor]:
    padding = torch.full((1, count), model.config.pad_token_id or 0)
    parts, mask = [IDS, padding], [torch.ones_like(IDS), torch.zeros_like(padding)]
    if left:
        parts, mask = parts[::-1], mask[::-1]
    return {"input_ids": torch.cat(parts, 1), "attention_mask": torch.cat(mask, 1)}


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
