"""One batch, with a different adapter for every row."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import XLNetConfig, XLNetModel

import inarch
from inarch import RouteError, UnknownNameError

from alone import alone
from families import FAMILIES, Family, logits, perturb
from scaling import Scale

ROWS = ["a", None, "b", "a", "b", None]


def batch_of(family: Family, rows: int) -> dict[str, Tensor]:
    torch.manual_seed(5)
    if family.name == "vit":
        return {"pixel_values": torch.randn(rows, 1, 8, 8)}
    ids = torch.randint(3, 60, (rows, 7))
    more: dict[str, Any] = {"decoder_input_ids": ids} if family.name == "t5" else {}
    return {"input_ids": ids, **more}


@pytest.mark.parametrize(("one", "other"), [("lora", "lora"), ("lora", "bitfit"), ("lora", "scale")])
@pytest.mark.parametrize("gradients", [False, True])
def test_every_row_is_answered_by_its_own_adapter(family: Family, one: str, other: str, gradients: bool) -> None:
    if other == "bitfit" and family.name in ("llama", "t5"):
        pytest.skip("no biases")
    model = family.model().double()
    for seed, (name, method) in enumerate([("a", one), ("b", other)]):
        perturb(inarch.attach(model, Scale() if method == "scale" else method, name=name), seed=seed)
    batch = {key: v.double() if v.is_floating_point() else v for key, v in batch_of(family, len(ROWS)).items()}
    expected = alone(model, batch, ROWS)
    with inarch.route(model, ROWS), torch.set_grad_enabled(gradients):
        answer = model(**batch).logits
    torch.testing.assert_close(answer.detach(), expected, rtol=0, atol=1e-10)
    assert not torch.allclose(expected[0], expected[2])


def test_a_fully_trained_copy_answers_its_rows() -> None:
    family = FAMILIES["llama"]
    model = family.model().double()
    perturb(inarch.attach(model, "full", name="a"), seed=1)
    perturb(inarch.attach(model, "lora", name="b"), seed=2)
    batch = batch_of(family, len(ROWS))
    expected = alone(model, batch, ROWS)
    with inarch.route(model, ROWS):
        torch.testing.assert_close(logits(model, batch), expected, rtol=0, atol=1e-10)
    inarch.activate(model, "a")
    torch.testing.assert_close(logits(model, batch)[0], expected[0], rtol=0, atol=1e-10)


def test_beams_belong_to_their_row() -> None:
    family = FAMILIES["llama"]
    model = family.model()
    for seed, name in enumerate("ab"):
        perturb(inarch.attach(model, "lora", name=name), seed=seed, scale=0.5)
    prompt = batch_of(family, 3)["input_ids"]
    settings = {"max_new_tokens": 4, "num_beams": 2, "do_sample": False, "pad_token_id": 0}
    expected = []
    for row, name in enumerate(["a", None, "b"]):
        inarch.activate(model, *([name] if name else []))
        expected.append(model.generate(prompt[row : row + 1], **settings))
    with inarch.route(model, ["a", None, "b"]):
        assert torch.equal(model.generate(prompt, **settings), torch.cat(expected))


def test_weights_count_in_routing(family: Family) -> None:
    model = family.model().double()
    perturb(inarch.attach(model, "lora", name="a", train_head=False), seed=1)
    inarch.adapters(model)["a"].weight = 0.25
    batch = {key: v.double() if v.is_floating_point() else v for key, v in batch_of(family, 2).items()}
    expected = logits(model, batch)
    with inarch.route(model, ["a", "a"]):
        torch.testing.assert_close(logits(model, batch), expected, rtol=0, atol=1e-10)


def test_what_cannot_be_routed_is_refused() -> None:
    family = FAMILIES["gpt2"]
    model = family.model()
    batch = batch_of(family, 3)
    with pytest.raises(UnknownNameError, match='no adapter "a"'), inarch.route(model, ["a"]):
        pass
    adapter = inarch.attach(model, "lora", name="a")
    perturb(adapter)
    refusal = r"h\.0\.attn\.c_attn has a batch of 3 rows and 2 adapters"
    with inarch.route(model, ["a", None]), pytest.raises(RouteError, match=refusal):
        logits(model, batch)
    adapter.merge()
    with pytest.raises(RouteError, match="merged"), inarch.route(model, ["a"]):
        pass
    adapter.unmerge()
    inarch.attach(model, "full", name="b")
    with pytest.raises(RouteError, match="Embedding themselves"), inarch.route(model, ["a", "b", None]):
        pass


def test_rows_along_another_axis_are_refused() -> None:
    sizes = {"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
    model = XLNetModel(XLNetConfig(**sizes)).eval()
    perturb(inarch.attach(model, "lora", name="a"))
    with inarch.route(model, ["a", None]), pytest.raises(RouteError, match=r"layer_1 is given the rows along axis 1"):
        model(input_ids=torch.randint(3, 60, (2, 6)))


def test_afterwards_everything_is_as_before(family: Family) -> None:
    model = family.model()
    perturb(inarch.attach(model, "lora", name="a"))
    batch = batch_of(family, 2)
    before = logits(model, batch)
    with inarch.route(model, [None, None]):
        assert not torch.equal(logits(model, batch), before)
    assert torch.equal(logits(model, batch), before)
    with pytest.raises(ZeroDivisionError), inarch.route(model, ["a", None]):
        raise ZeroDivisionError
    assert torch.equal(logits(model, batch), before)
