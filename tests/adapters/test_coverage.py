from typing import Any

import pytest
import torch
from torch import nn

from inarch.adapters import anatomy
from inarch.adapters.coverage import coverage


def mixtures() -> dict[str, tuple[str, dict[str, Any]]]:
    """Mixtures of experts in the proportions of published ones: class and config."""
    sizes = {"vocab_size": 1000, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8}
    few = sizes | {"num_key_value_heads": 2, "head_dim": 32}
    latent = {"q_lora_rank": 64, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
    delta = {
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
    }
    moe = {"intermediate_size": 640, "moe_intermediate_size": 96}
    return {
        "mixtral": ("Mixtral", few | {"intermediate_size": 896, "num_local_experts": 8}),
        "qwen3_moe": ("Qwen3Moe", few | moe | {"num_experts": 32}),
        "deepseek_v3": (
            "DeepseekV3",
            sizes | latent | moe | {"n_routed_experts": 32, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2},
        ),
        "glm4_moe": ("Glm4Moe", few | moe | {"n_routed_experts": 32, "first_k_dense_replace": 1}),
        "gpt_oss": ("GptOss", few | {"intermediate_size": 256, "num_local_experts": 16}),
        "qwen3_next": ("Qwen3Next", few | moe | delta | {"shared_expert_intermediate_size": 64, "num_experts": 32}),
        "llama4": ("Llama4", few | {"intermediate_size": 384, "intermediate_size_mlp": 768, "num_local_experts": 8}),
    }


@pytest.mark.parametrize("name", list(mixtures()))
def test_linear_maps_hold_nearly_all_weights_of_mixtures(name: str) -> None:
    import transformers

    start, settings = mixtures()[name]
    text = getattr(transformers, f"{start}TextConfig", None) if name == "llama4" else None
    config = (text or getattr(transformers, f"{start}Config"))(**settings)
    with torch.device("meta"):
        model = getattr(transformers, f"{start}ForCausalLM")(config)
    found = anatomy(model)
    sites = {part.name for part in found.parts.values() if "linear" in part.roles and part.suits(("linear", "experts"))}
    reached = coverage(model, found, sites, ())
    assert reached.share >= 0.95
    assert all("experts" not in left for left in reached.unreached)


def test_coverage_counts_matrices_by_hand() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(100, 4)
            self.a, self.b, self.norm = nn.Linear(4, 6), nn.Linear(6, 4), nn.LayerNorm(4)
            self.table = nn.Parameter(torch.zeros(3, 4))
            self.token = nn.Parameter(torch.zeros(1, 1, 4))

    model = Model()
    model.c = nn.Linear(6, 4)
    model.c.weight = model.b.weight  # tied: it counts once
    found = anatomy(model)
    assert coverage(model, found, {"a"}, ()).share == 24 / (24 + 24 + 12)
    assert coverage(model, found, {"a"}, ()).unreached == ("table", "b")
    assert coverage(model, found, {"a"}, {"b.weight", "table"}).share == 1.0
    assert coverage(model, found, {""}, ()).share == 0.0
