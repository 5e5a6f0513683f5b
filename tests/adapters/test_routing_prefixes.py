"""One batch with a different prefix, of another length or none, for every row: each as if it were alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch import RouteError

from alone import alone, routed
from attentions import Prefix, road  # noqa: F401 - a fixture
from families import FAMILIES, Family, perturb
from sampled import each_once, one_of

ROWS = ["short", None, "long", "lora", "short", "other"]
EQUAL = ["short", "other", "other", "short", "short", "other"]
LENGTHS = {"short": 3, "long": 5, "other": 3}


def adapted(family: Family, implementation: str = "sdpa") -> nn.Module:
    model = family.model()
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    torch.manual_seed(3)
    for name, length in LENGTHS.items():
        inarch.attach(model, Prefix(length=length), name=name, train_head=False)
    perturb(inarch.attach(model, "lora", name="lora", train_head=False), scale=0.3)
    return model.double()


def batch_of(family: Family, *, padded: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(5)
    if family.name == "vit":
        return {"pixel_values": torch.randn(len(ROWS), 1, 8, 8, dtype=torch.float64)}
    ids = torch.randint(3, 60, (len(ROWS), 7))
    batch = {"input_ids": ids} | ({"decoder_input_ids": ids[:, :5]} if family.name == "t5" else {})
    if padded:
        batch["attention_mask"] = torch.ones_like(ids)
        for row in range(len(ROWS)):
            batch["attention_mask"][row, 7 - row :] = 0
    return batch


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("rows", one_of([ROWS, EQUAL]), ids=["of any length", "of one length"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_each_row_attends_to_its_own(
    family: Family, implementation: str, rows: list[str | None], padded: bool, road: str
) -> None:
    model, batch = adapted(family, implementation), batch_of(family, padded=padded)
    expected = alone(model, batch, rows)
    assert not torch.allclose(expected[0], alone(model, batch, [None])[0])
    for gradients in (False, True):
        answer = routed(model, batch, rows, gradients=gradients)
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-12)


def test_padding_on_the_left_too(road: str) -> None:
    model, batch = adapted(FAMILIES["llama"]), batch_of(FAMILIES["llama"])
    mask = torch.ones_like(batch["input_ids"])
    mask[1, :2] = mask[4, :3] = 0
    batch["attention_mask"] = mask
    expected = alone(model, batch, ROWS)
    torch.testing.assert_close(routed(model, batch, ROWS)[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-12)


@each_once(
    name=["llama", "gpt2", "t5"],
    settings=[{}, {"num_beams": 2}, {"use_cache": False}, {"cache_implementation": "static"}],
)
def test_generates_what_each_row_would(name: str, settings: dict[str, Any], road: str) -> None:
    model, ids = adapted(FAMILIES[name]), batch_of(FAMILIES[name])["input_ids"]
    asked = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "disable_compile": True}

    def generated(model: Any, batch: dict[str, Tensor]) -> Tensor:
        result: Tensor = model.generate(**batch, **asked, **settings)
        return result

    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    expected = alone(model, batch, ROWS, generated)
    with inarch.route(model, ROWS):
        assert torch.equal(generated(model, batch), expected)


def test_prefix_tuning_itself() -> None:
    model = FAMILIES["llama"].model()
    for name, length in (("a", 2), ("b", 6)):
        perturb(inarch.attach(model, "prefix", name=name, length=length, hidden=8))
    model.double()
    batch = {"input_ids": batch_of(FAMILIES["llama"])["input_ids"][:3]}
    rows = ["a", None, "b"]
    torch.testing.assert_close(routed(model, batch, rows), alone(model, batch, rows), rtol=0, atol=1e-12)


def test_another_number_of_rows_is_refused_by_the_attention_s_name(road: str) -> None:
    model, batch = adapted(FAMILIES["llama"]), batch_of(FAMILIES["llama"])
    refused = pytest.raises(RouteError, match=r"layers\.0\.self_attn computes a batch of 6 rows and 4 adapters")
    with inarch.route(model, ["short", None, "long", None]), refused:
        model(**batch)
    assert torch._C._len_torch_function_stack() == 0
