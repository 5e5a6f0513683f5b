"""Models to checkpoint, and what a training step of one gives."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from inarch.engine.activations import is_attention
from inarch.engine.checkpoint_hook import checkpoint_by, checkpointed_blocks, restore, use_cache_again, use_no_cache

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        MixtralConfig,
        MixtralForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
}


def _llama() -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2))


def _gpt2() -> nn.Module:
    sizes = {"vocab_size": 64, "n_embd": 64, "n_layer": 6, "n_head": 4, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def _bert() -> nn.Module:
    return BertForSequenceClassification(BertConfig(**SIZES, num_labels=3))


def _t5() -> nn.Module:
    sizes = {"vocab_size": 64, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))


def _mixtral() -> nn.Module:
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=4))


LARGER = {"llama": _llama, "gpt2": _gpt2, "bert": _bert, "t5": _t5, "mixtral": _mixtral}
"""Models of six blocks, large enough for activations to be what takes memory."""


def larger(name: str, *, rows: int = 8) -> tuple[nn.Module, dict[str, Tensor]]:
    """A model, and a batch for it."""
    torch.manual_seed(0)
    model = LARGER[name]()
    ids = torch.randint(3, 64, (rows, 48))
    return model, {"input_ids": ids, "labels": torch.zeros(rows, dtype=torch.long) if name == "bert" else ids.clone()}


@dataclass
class Trained:
    """What a training step gives: the loss, the gradients, and the random numbers that are drawn next."""

    loss: Tensor
    gradients: dict[str, Tensor]
    drawn: Tensor


def step(model: nn.Module, batch: dict[str, Any], seed: int = 3) -> Trained:
    model.train()
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss = model(**batch).loss
    loss.backward()
    gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    return Trained(loss.detach(), gradients, torch.rand(3))


def assert_equal(first: Trained, second: Trained) -> None:
    """To the bit."""
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.drawn, second.drawn)
    assert first.gradients
    assert first.gradients.keys() == second.gradients.keys()
    for name, gradient in first.gradients.items():
        assert torch.equal(gradient, second.gradients[name]), name


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for key, value in vars(module).items():
            if "dropout" in key and isinstance(value, float):
                setattr(module, key, 0.0)
    return model


@contextmanager
def all_blocks(model: nn.Module, function: Any) -> Iterator[None]:
    """Within, ``function`` calls every block."""
    before = {block: checkpoint_by(block, function) for block in checkpointed_blocks(model).values()}
    use_no_cache(model)
    try:
        yield
    finally:
        use_cache_again(model)
        for block, attributes in before.items():
            restore(block, attributes)


class Attentions(TorchDispatchMode):
    """Counts the attentions that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += is_attention(func)
        return func(*args, **(kwargs or {}))
