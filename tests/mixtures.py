"""Tiny models with fused experts, of every way that transformers multiplies with them."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # transformers warns of its own deprecations when it is imported
    import transformers
    from transformers import (
        DeepseekV3Config,
        DeepseekV3ForCausalLM,
        GptOssConfig,
        GptOssForCausalLM,
        JetMoeConfig,
        JetMoeForCausalLM,
        Llama4ForCausalLM,
        Llama4TextConfig,
        MixtralConfig,
        MixtralForCausalLM,
        NemotronHConfig,
        NemotronHForCausalLM,
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
    )

transformers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)

VOCABULARY = 64
SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_attention_heads": 4, "head_dim": 8}
GROUPED: dict[str, Any] = {"num_hidden_layers": 2, "num_key_value_heads": 2, "num_experts_per_tok": 2}


def _mixtral() -> nn.Module:
    return MixtralForCausalLM(MixtralConfig(**SIZES, **GROUPED, intermediate_size=48, num_local_experts=4))


def _qwen3_moe() -> nn.Module:
    sizes = {"intermediate_size": 48, "moe_intermediate_size": 24, "num_experts": 4}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **GROUPED, **sizes))


def _gpt_oss() -> nn.Module:
    """Biases, transposed weights, gate and up interleaved."""
    return GptOssForCausalLM(GptOssConfig(**SIZES, **GROUPED, intermediate_size=48, num_local_experts=4))


def _deepseek_v3() -> nn.Module:
    """A shared expert beside the routed ones, and a first layer without experts."""
    heads = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
    experts = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "moe_intermediate_size": 24}
    config = DeepseekV3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        **heads,
        **experts,
    )
    return DeepseekV3ForCausalLM(config)


def _nemotron_h() -> nn.Module:
    """Experts without a gate."""
    config = NemotronHConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        layers_block_type=["attention", "moe", "moe"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        moe_shared_expert_intermediate_size=24,
        n_group=1,
        topk_group=1,
    )
    return NemotronHForCausalLM(config)


def _llama4() -> nn.Module:
    """All tokens through all experts, by one batched product with transposed weights."""
    config = Llama4TextConfig(
        **SIZES,
        **GROUPED,
        intermediate_size=48,
        intermediate_size_mlp=48,
        num_local_experts=4,
        interleave_moe_layer_step=1,
    )
    return Llama4ForCausalLM(config)


def _jetmoe() -> nn.Module:
    """Each projection a module of its own, and experts in the attention too."""
    sizes = {"kv_channels": 8, "intermediate_size": 48, "num_local_experts": 4}
    return JetMoeForCausalLM(JetMoeConfig(vocab_size=VOCABULARY, hidden_size=32, **GROUPED, **sizes))


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "mixtral": _mixtral,
    "qwen3_moe": _qwen3_moe,
    "gpt_oss": _gpt_oss,
    "deepseek_v3": _deepseek_v3,
    "nemotron_h": _nemotron_h,
    "llama4": _llama4,
    "jetmoe": _jetmoe,
}
OWN_WAY = ("llama4", "jetmoe")
"""Those that know nothing of transformers' ways."""
IMPLEMENTATIONS = ("eager", "grouped_mm", "batched_mm")
CELLS = [(name, way) for name in MAKERS for way in (("eager",) if name in OWN_WAY else IMPLEMENTATIONS)]


def mixture(name: str, implementation: str = "eager") -> Any:
    """A model, the same one at each call, with its experts computed in one of transformers' ways."""
    torch.manual_seed(0)
    model: Any = MAKERS[name]().eval()
    if name not in OWN_WAY:
        model.set_experts_implementation(implementation)
    with torch.no_grad():
        for parameter in model.parameters():  # larger than models start, so that rounding is no excuse
            parameter.normal_(std=0.2)
    return model


def tokens(rows: int = 2, length: int = 6) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


def answer(model: Any, ids: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(tokens() if ids is None else ids).logits
    return logits
