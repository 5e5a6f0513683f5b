"""LoRA against its papers."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaForSequenceClassification

import inarch

from families import FAMILIES, logits, perturb


def test_roberta_base_has_the_paper_s_parameters() -> None:
    """Table 2 of arXiv:2106.09685 says 0.3M: rank 8 on query and value of 12 layers of width 768.

    12 layers x 2 maps x (8 x 768 + 768 x 8) = 294,912. With the head of RobertaForSequenceClassification for two labels,
    768 x 768 + 768 + 768 x 2 + 2 = 592,130, that is 887,042.
    """
    with torch.device("meta"):
        config = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, num_labels=2)
        model = RobertaForSequenceClassification(config)
    report = inarch.plan(model, "lora", rank=8, targets=("query", "value")).report()
    assert report.trainable_added == 294_912
    assert report.trainable == 887_042


@pytest.mark.parametrize(
    ("rank", "targets", "said", "expected"),
    [
        (1, ("q_proj", "v_proj"), 4.7e6, 4_718_592),
        (8, ("q_proj", "v_proj"), 37.7e6, 37_748_736),
        (8, ("q_proj",), 18e6, 18_874_368),
    ],
)
def test_gpt3_has_the_paper_s_parameters(rank: int, targets: tuple[str, ...], said: float, expected: int) -> None:
    """Tables 4 and 5 of arXiv:2106.09685: 4.7M and 37.7M for query and value at ranks 1 and 8, 18M for query alone.

    96 layers of width 12,288: 96 x maps x 2 x 12,288 x rank. Table 5 cuts off what comes after the millions.
    """
    with torch.device("meta"):
        config = LlamaConfig(
            hidden_size=12288, intermediate_size=8, num_hidden_layers=96, num_attention_heads=96, vocab_size=8
        )
        model = LlamaForCausalLM(config)
    added = inarch.plan(model, "lora", rank=rank, targets=targets).report().trainable_added
    assert added == expected == 96 * len(targets) * 2 * 12288 * rank
    assert 0 <= added - said < 1e6


@pytest.mark.parametrize("settings", [{"dora": True}, {"initialisation": "pissa"}])
def test_a_plan_needs_no_weights(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms and singular values are those of weights, and a plan counts parameters of models that have none yet."""
    monkeypatch.setattr(torch.linalg, "svd", None)
    monkeypatch.setattr(torch.linalg, "vector_norm", None)
    model = FAMILIES["bert"].model()
    expected = inarch.plan(model, "lora", rank=4, **settings).report()
    assert expected.trainable_added > 0
    with torch.device("meta"):
        assert inarch.plan(FAMILIES["bert"].make(), "lora", rank=4, **settings).report() == expected


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({"rank": 4, "alpha": 8}, 2.0), ({"rank": 4, "alpha": 8, "rank_stabilised": True}, 8 / math.sqrt(4))],
)
def test_the_formula(settings: dict[str, Any], scale: float) -> None:
    """h = W x + scale B A x, in float64 and written out."""
    model = nn.Sequential(nn.Linear(6, 5)).double()
    adapter = inarch.attach(model, "lora", **settings)
    perturb(adapter)
    tensors = adapter.tensors()
    a, b = (tensors[f"base_model.model.0.lora_{letter}.weight"] for letter in "AB")
    x = torch.randn(3, 6, dtype=torch.float64)
    expected = x @ model[0].weight.T + model[0].bias + scale * x @ a.T @ b.T
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


def test_a_starts_uniform_and_b_at_zero() -> None:
    torch.manual_seed(0)
    adapter = inarch.attach(nn.Sequential(nn.Linear(400, 300)), "lora", rank=16)
    a, b = adapter.tensors().values()
    bound = 1 / math.sqrt(400)  # Kaiming uniform with a = sqrt(5)
    assert a.abs().max() <= bound
    assert abs(a.std().item() - bound / math.sqrt(3)) < 0.02 * bound
    assert not b.any()


def test_dropout_acts_in_training_alone() -> None:
    model = FAMILIES["llama"].model()
    perturb(inarch.attach(model, "lora", dropout=0.5))
    batch = FAMILIES["llama"].batch()
    assert torch.equal(logits(model, batch), logits(model, batch))
    model.train()
    assert not torch.equal(logits(model, batch), logits(model, batch))


def test_patterns_set_rank_and_alpha_by_glob() -> None:
    model = FAMILIES["llama"].model()
    adapter = inarch.attach(
        model, "lora", rank=8, alpha=16, rank_pattern={"*.layers.1.*": 2, "q_proj": 4}, alpha_pattern={"v_proj": 4}
    )
    built = {site.name: site.module.inarch.default for site in adapter.sites}
    ranks = {name: module.lora_A.shape[0] for name, module in built.items()}
    assert ranks["model.layers.0.self_attn.q_proj"] == 4
    assert ranks["model.layers.1.self_attn.q_proj"] == 2
    assert ranks["model.layers.0.self_attn.k_proj"] == 8
    assert built["model.layers.0.self_attn.v_proj"].scale == 4 / 8
    assert built["model.layers.1.self_attn.v_proj"].scale == 4 / 2


def test_gradients_are_those_of_finite_differences() -> None:
    model = nn.Sequential(nn.Linear(4, 3)).double()
    adapter = inarch.attach(model, "lora", rank=2)
    perturb(adapter)
    module = adapter.sites[0].module.inarch.default
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"lora_A": a, "lora_B": b}, (x, y))

    parameters = (module.lora_A.detach().requires_grad_(), module.lora_B.detach().requires_grad_())
    assert torch.autograd.gradcheck(function, (x, y, *parameters))
