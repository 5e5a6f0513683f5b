"""The families that every law is held on: what published models are made of, in the smallest sizes that show it.

Grouped keys and values (Llama, Mixtral), one fused projection of queries, keys and values that is stored transposed
(GPT-2), biases and a new head (BERT, ViT), an encoder beside a decoder (T5), images (ViT), fused experts (Mixtral).
None has dropout, so that two runs can be compared.
"""

import torch
from torch import Tensor, nn

from .family import Family

VOCABULARY = 64
LABELS = 3
LENGTH = 6
IMAGE = (1, 8, 8)

_SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}


def _llama(layers: int) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=layers, num_key_value_heads=2, **_SIZES)
    return LlamaForCausalLM(config)  # type: ignore[no-any-return]


def _gpt2(layers: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(n_embd=32, n_layer=layers, n_head=4, n_positions=32, **tokens, **dropout)
    return GPT2LMHeadModel(config)  # type: ignore[no-any-return]


def _bert(layers: int) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(vocab_size=VOCABULARY, num_hidden_layers=layers, num_labels=LABELS, **dropout, **_SIZES)
    return BertForSequenceClassification(config)  # type: ignore[no-any-return]


def _t5(layers: int) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": layers, "num_heads": 4}
    config = T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, dropout_rate=0.0, **sizes)
    return T5ForConditionalGeneration(config)  # type: ignore[no-any-return]


def _vit(layers: int) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    channels, size, _ = IMAGE
    image = {"image_size": size, "patch_size": size // 2, "num_channels": channels}
    config = ViTConfig(num_hidden_layers=layers, num_labels=LABELS, **image, **_SIZES)
    return ViTForImageClassification(config)  # type: ignore[no-any-return]


def _mixtral(layers: int) -> nn.Module:
    from transformers import MixtralConfig, MixtralForCausalLM

    # Of transformers' implementations this one knows float64 too, and is one graph to the compiler.
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "batched_mm"}
    config = MixtralConfig(vocab_size=VOCABULARY, num_hidden_layers=layers, num_key_value_heads=2, **experts, **_SIZES)
    return MixtralForCausalLM(config)  # type: ignore[no-any-return]


def _tokens(rows: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, LENGTH))


def _classes(rows: int) -> Tensor:
    return torch.arange(rows) * 2 % LABELS


def _text(rows: int) -> dict[str, Tensor]:
    ids = _tokens(rows)
    return {"input_ids": ids, "labels": ids.clone()}


def _labelled_text(rows: int) -> dict[str, Tensor]:
    return {"input_ids": _tokens(rows), "labels": _classes(rows)}


def _translation(rows: int) -> dict[str, Tensor]:
    ids = _tokens(rows)
    return {"input_ids": ids, "decoder_input_ids": ids.roll(1, dims=1), "labels": ids.clone()}


def _images(rows: int) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(rows, *IMAGE), "labels": _classes(rows)}


FAMILIES = {
    family.name: family
    for family in (
        Family("llama", _llama, _text),
        Family("gpt2", _gpt2, _text),
        Family("bert", _bert, _labelled_text, has_new_head=True),
        Family("t5", _t5, _translation),
        Family("vit", _vit, _images, has_new_head=True),
        Family("mixtral", _mixtral, _text),
    )
}
"""The tiny models by name, in the order of the results' columns."""
