"""Tiny models of every family that the laws are held on."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    # transformers and peft warn of one another's deprecations when they are imported.
    warnings.simplefilter("ignore")
    import peft  # noqa: F401
    import transformers
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
        ViTConfig,
        ViTForImageClassification,
    )

transformers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)

VOCABULARY = 64
LABELS = 3


@dataclass(frozen=True)
class Family:
    """A tiny model and a batch for it."""

    name: str
    make: Callable[[], nn.Module]
    has_new_head: bool

    def model(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return self.make().eval()

    def batch(self, seed: int = 1) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        ids = torch.randint(3, VOCABULARY, (2, 6))
        if self.name == "vit":
            return {"pixel_values": torch.randn(2, 1, 8, 8), "labels": torch.tensor([0, 2])}
        if self.name == "bert":
            return {"input_ids": ids, "labels": torch.tensor([0, 2])}
        return {"input_ids": ids, "labels": ids.clone()}


def _llama() -> nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


def _gpt2() -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0
        )
    )


def _bert() -> nn.Module:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_labels=LABELS,
        )
    )


def _t5() -> nn.Module:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
        )
    )


def _vit() -> nn.Module:
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=8,
            patch_size=4,
            num_channels=1,
            num_labels=LABELS,
        )
    )


FAMILIES = {
    family.name: family
    for family in (
        Family("llama", _llama, False),
        Family("gpt2", _gpt2, False),
        Family("bert", _bert, True),
        Family("t5", _t5, False),
        Family("vit", _vit, True),
    )
}


def logits(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        result: Any = model(**batch)
    return result.logits


def perturb(adapter: Any, seed: int = 7, scale: float = 0.1) -> None:
    """Give every trained parameter of an adapter a value that training might have."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter) * scale)


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Whatever of a model an adapter might leave a trace in."""
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "identities": {name: id(value) for name, value in model.named_parameters(remove_duplicate=False)},
        "requires_grad": {name: value.requires_grad for name, value in model.named_parameters()},
        "modules": [(name, type(module), module.training) for name, module in model.named_modules()],
        "hooks": [(name, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()],
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert {k: v for k, v in before.items() if k != "values"} == {k: v for k, v in after.items() if k != "values"}
    assert before["values"].keys() == after["values"].keys()
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name


def double(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).double()
