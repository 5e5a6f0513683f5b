"""One batch with a different adapter of experts, or none, for every row: each as if it were alone."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import SwitchTransformersConfig, SwitchTransformersForConditionalGeneration

import inarch
from inarch import RouteError

from alone import alone, routed
from families import perturb
from mixtures import CELLS, mixture, tokens
from sampled import each_once

ROWS = ["a", None, "b", "a", "all", None]


def adapted(model: Any, *names: str, **settings: Any) -> Any:
    for seed, name in enumerate(names):
        targets = {} if name == "all" else {"targets": ("@expert",)}
        torch.manual_seed(seed)
        adapter = inarch.attach(model, "lora", name=name, rank=2 + seed, train_head=False, **targets, **settings)
        perturb(adapter, seed=seed, scale=0.3)
    return model


@each_once(cell=[cell for cell in CELLS if cell[0] != "jetmoe"], gradients=[False, True])
def test_each_row_has_its_own(cell: tuple[str, str], gradients: bool) -> None:
    """Grouped products, and some routers, are in float32 whatever they are given."""
    model, batch = adapted(mixture(*cell), "a", "b", "all"), {"input_ids": tokens(len(ROWS), 5)}
    if cell[1] != "grouped_mm":
        model.double()
    expected = alone(model, batch, ROWS)
    assert (expected[0] - alone(model, {"input_ids": batch["input_ids"][:1]}, [None])[0]).abs().max() > 0.01
    answer = routed(model, batch, ROWS, gradients=gradients)
    exact = cell[0] in ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3") and cell[1] != "grouped_mm"
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-12 if exact else 2e-6)


@pytest.mark.parametrize("targets", [("@expert",), ("@linear",)], ids=str)
def test_single_experts_too(targets: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    config = SwitchTransformersConfig(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        num_experts=4,
        expert_capacity=64,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        decoder_start_token_id=0,
    )
    model: Any = SwitchTransformersForConditionalGeneration(config).eval().double()
    for seed, name in enumerate(("a", "b")):
        perturb(inarch.attach(model, "lora", name=name, targets=targets, train_head=False), seed=seed, scale=0.3)
    model.double()
    rows = ["a", None, "b", "a"]
    batch = {"input_ids": tokens(4, 7), "decoder_input_ids": tokens(4, 5)}
    expected = alone(model, batch, rows)
    assert any(".experts." in site.name for site in inarch.adapters(model)["a"].sites)
    torch.testing.assert_close(routed(model, batch, rows), expected, rtol=0, atol=1e-6)  # its router is float32


def test_one_adapter_for_all_rows_is_that_adapter() -> None:
    model, batch = adapted(mixture("mixtral").double(), "a", "b"), {"input_ids": tokens(2, 5)}
    model.double()
    for name in ("a", None):
        expected = alone(model, batch, [name, name])
        torch.testing.assert_close(routed(model, batch, [name, name]), expected, rtol=0, atol=1e-12)


def test_weights_count() -> None:
    model, batch = adapted(mixture("mixtral").double(), "a"), {"input_ids": tokens(2, 5)}
    model.double()
    inarch.adapters(model)["a"].weight = 0.25
    expected = alone(model, batch, ["a", None])
    torch.testing.assert_close(routed(model, batch, ["a", None]), expected, rtol=0, atol=1e-12)


def test_generates_what_each_row_would() -> None:
    model, ids = adapted(mixture("mixtral"), "a", "b", "all"), tokens(len(ROWS), 5)

    def generated(model: Any, batch: dict[str, Tensor]) -> Tensor:
        asked = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "num_beams": 2}
        result: Tensor = model.generate(**batch, **asked)
        return result

    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    expected = alone(model, batch, ROWS, generated)
    with inarch.route(model, ROWS):
        assert torch.equal(generated(model, batch), expected)


def test_a_forward_of_the_user_s_own_is_kept() -> None:
    model, batch = adapted(mixture("mixtral"), "a"), {"input_ids": tokens(2, 5)}
    block = model.model.layers[0].mlp
    calls = []
    plain = block.forward

    def own(*args: Any) -> Any:
        calls.append(args)
        return plain(*args)

    block.forward = own
    routed(model, batch, ["a", None])
    assert len(calls) == 2  # the rows of "a", and those of the base
    assert block.forward is own
    assert "forward" not in vars(model.model.layers[1].mlp)


def test_experts_within_an_attention_are_refused() -> None:
    """Its cache would get the rows in pieces."""
    model = adapted(mixture("jetmoe"), "a")
    with inarch.route(model, ["a", None]), pytest.raises(RouteError, match=r"self_attention.* cannot be routed|mixed"):
        model(tokens(2, 5))


def test_a_block_that_mixes_its_rows_before_is_refused() -> None:
    model = adapted(mixture("mixtral"), "a")
    block = model.model.layers[0].mlp
    with inarch.route(model, ["a", None]):
        with pytest.raises(RouteError, match=r"layers\.0\.mlp cannot be routed: it is given tokens without their rows"):
            block(torch.randn(6, 32))
        with pytest.raises(RouteError, match=r"layers\.0\.mlp has a batch of 3 rows and 2 adapters"):
            block(torch.randn(3, 5, 32))
        with pytest.raises(RouteError, match=r"layers\.0\.mlp\.experts is given tokens of all rows mixed"):
            block.experts(torch.randn(6, 32), torch.zeros(6, 2, dtype=torch.long), torch.ones(6, 2))
