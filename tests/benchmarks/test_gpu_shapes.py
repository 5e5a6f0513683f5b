"""The shapes and their arithmetic, against published sizes."""

import pytest
import torch

from inarch_benchmarks.gpu.build import as_bitsandbytes, as_inarch, batch, build
from inarch_benchmarks.gpu.shapes import SHAPES

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama-3.1-8b", 8_030_261_248),
        ("qwen3-8b", 8_190_735_360),
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.1-70b", 70_553_706_496),
    ],
)
def test_a_shape_has_as_many_parameters_as_the_published_model(name: str, parameters: int) -> None:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(SHAPES[name].config())
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("sequence", "recomputed", "tokens"),
    [
        (2048, False, 24_570),
        (4096, False, 23_220),
        (8192, False, 20_910),
        (2048, True, 16_910),
        (4096, True, 16_080),
        (8192, True, 14_640),
    ],
)
def test_the_floor_is_that_of_the_arithmetic_by_hand(sequence: int, recomputed: bool, tokens: int) -> None:
    found = 790e12 / SHAPES["llama-3.1-8b"].flops(sequence, 16, recomputed=recomputed)
    assert found == pytest.approx(tokens, rel=5e-4)


def test_blocks_are_all_different_and_every_contender_is_given_the_same_bytes() -> None:
    shape = SHAPES["tiny"]
    ours, theirs = (build(shape, "nf4", store, CPU) for store in (as_inarch, as_bitsandbytes))
    assert len(ours.model.layers) == ours.config.num_hidden_layers == shape.layers
    first, second = (block.mlp.up_proj.weight for block in ours.model.layers)
    assert not torch.equal(first, second)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name


def test_it_computes_what_transformers_computes_from_the_same_values() -> None:
    from transformers import AutoModelForCausalLM

    shape = SHAPES["tiny"]
    built = build(shape, "bf16", as_inarch, CPU)
    expected = AutoModelForCausalLM.from_config(shape.config(), dtype=torch.bfloat16)
    expected.load_state_dict(built.state_dict())
    tokens = batch(shape, 2, 12, CPU)
    assert torch.equal(built.eval()(**tokens).logits, expected.eval()(**tokens).logits)
