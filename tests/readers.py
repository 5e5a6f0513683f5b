"""Tiny models that read tokens, each in another way."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from families import FAMILIES

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


def of_family(name: str) -> Callable[[], nn.Module]:
    return lambda: FAMILIES[name].model()


def of_sizes(kind: str, **more: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        config = getattr(transformers, more.get("config", kind.partition("For")[0].removesuffix("Model") + "Config"))
        torch.manual_seed(0)
        settings = SIZES | {key: value for key, value in more.items() if key != "config"}
        return getattr(transformers, kind)(config(**settings)).eval()

    return make


# Each reads its tokens in another way: rotary positions, an embedding of positions, positions that the embedding counts
# itself, ALiBi, distances alone, none at all; scaled embeddings, windows, embeddings for each layer, recurrences.
DECODERS: dict[str, Callable[[], nn.Module]] = {
    "llama": of_family("llama"),
    "gpt2": of_family("gpt2"),
    "gemma": of_sizes("GemmaForCausalLM", head_dim=8, num_key_value_heads=2),
    "mistral": of_sizes("MistralForCausalLM", num_key_value_heads=2, sliding_window=4),
    "opt": of_sizes("OPTForCausalLM", ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=40),
    "neox": of_sizes("GPTNeoXForCausalLM"),
    "falcon": of_sizes("FalconForCausalLM"),
    "mamba": of_sizes("MambaForCausalLM", state_size=4),
}
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "bert": of_sizes("BertModel"),
    "roberta": of_sizes("RobertaModel", pad_token_id=1, max_position_embeddings=40),
    "deberta": of_sizes(
        "DebertaV2Model", relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], type_vocab_size=0
    ),
    "albert": of_sizes("AlbertModel", embedding_size=16),
    "modernbert": of_sizes(
        "ModernBertModel", pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
    ),
}
PAIRS: dict[str, Callable[[], nn.Module]] = {
    "t5": of_family("t5"),
    "bart": of_sizes(
        "BartForConditionalGeneration",
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=40,
    ),
}
EVERY = DECODERS | ENCODERS | PAIRS


def answer(model: Any, **inputs: Any) -> Tensor:
    """The logits, or the states of a model that has none."""
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[3, 4, 5]]).expand(len(next(iter(inputs.values()))), -1)
    with torch.no_grad():
        result = model(**inputs)
    return result.logits if "logits" in result else result.last_hidden_state
