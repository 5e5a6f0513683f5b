"""One batch with a different prompt, of another length or none, for every row: each as if it were alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch import RouteError
from inarch_plugins.prompt import PromptTuning

from alone import alone
from families import perturb
from readers import DECODERS, EVERY, PAIRS, answer
from sampled import each_once

ROWS = ["short", None, "long", "lora", "short", "other"]
EQUAL = ["short", "other", "other", "short", "short", "other"]
LENGTHS = {"short": 3, "long": 5, "other": 3}
TOLD_POSITIONS = ("gpt2", "opt", "bert", "albert", "deberta")
"""Those with an embedding of positions that they can be told."""


def adapted(name: str) -> Any:
    model = EVERY[name]().double()
    for seed, (prompt, length) in enumerate(LENGTHS.items()):
        torch.manual_seed(seed)
        perturb(inarch.attach(model, PromptTuning(length=length), name=prompt, train_head=False), seed=seed, scale=0.5)
    perturb(
        inarch.attach(
            model, "lora", name="lora", targets=("@mlp.up",) if name != "mamba" else ("@linear",), train_head=False
        ),
        scale=0.3,
    )
    return model.double()


def answered(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return answer(model, **batch)


def tokens(model: Any, padding: str = "") -> dict[str, Tensor]:
    ids = torch.randint(3, 60, (len(ROWS), 6), generator=torch.Generator().manual_seed(2))
    if not padding:
        return {"input_ids": ids}
    mask = torch.ones_like(ids)
    for row in range(len(ROWS)):
        mask[row, row % 4 :] = 1
        mask[row, : row % 4] = 0
    mask = mask if padding == "left" else mask.flip(1)
    return {"input_ids": ids.masked_fill(mask == 0, model.config.pad_token_id or 0), "attention_mask": mask}


@each_once(name=EVERY, padding=["", "right", "left"], rows=[ROWS, EQUAL])
def test_each_row_has_its_own(name: str, padding: str, rows: list[str | None]) -> None:
    model = adapted(name)
    batch = tokens(model, padding)
    if padding == "left" and rows is ROWS and name in TOLD_POSITIONS:
        with pytest.raises(RouteError, match="give position_ids, or pad on the right"), inarch.route(model, rows):
            answered(model, batch)
        return
    expected = alone(model, batch, rows, answered)
    with inarch.route(model, rows):
        found = answered(model, batch)
    if padding and found.shape[:2] == batch["attention_mask"].shape:
        shown = batch["attention_mask"].bool()
        found, expected = found[shown], expected[shown]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)  # rotations are in float32


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_with_positions_padding_may_be_on_the_left(name: str) -> None:
    model = adapted(name)
    batch = tokens(model, "left")
    shown = batch["attention_mask"].bool()
    batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    expected = alone(model, batch, ROWS, answered)
    with inarch.route(model, ROWS):
        torch.testing.assert_close(answered(model, batch)[shown], expected[shown], rtol=0, atol=1e-12)


@each_once(name=DECODERS | PAIRS, padded=[True, False], settings=[{}, {"num_beams": 2}, {"use_cache": False}])
def test_generates_what_each_row_would(name: str, padded: bool, settings: dict[str, Any]) -> None:
    model = adapted(name)
    batch = tokens(model, ("right" if name in PAIRS else "left") if padded else "")
    batch.setdefault("attention_mask", torch.ones_like(batch["input_ids"]))

    def generated(model: Any, batch: dict[str, Tensor]) -> Tensor:
        asked = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        result: Tensor = model.generate(**batch, **asked, **settings)
        return result

    if name == "mamba" and settings.get("use_cache", True):
        with pytest.raises(RouteError, match="give use_cache=False"), inarch.route(model, ROWS):
            generated(model, batch)
        rows = EQUAL
    else:
        rows = ROWS
    expected = alone(model, batch, rows, generated)
    with inarch.route(model, rows):
        assert torch.equal(generated(model, batch), expected)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_gradients_may_be_on(name: str) -> None:
    model = adapted(name)
    batch = tokens(model) | ({"decoder_input_ids": torch.tensor([[3, 4, 5]] * len(ROWS))} if name == "t5" else {})
    expected = alone(model, batch, ROWS)
    with inarch.route(model, ROWS):
        torch.testing.assert_close(model(**batch).logits.detach(), expected, rtol=0, atol=1e-12)


def test_another_number_of_rows_is_refused() -> None:
    model = adapted("llama")
    with inarch.route(model, ["short", None, "long", None]), pytest.raises(RouteError, match="6 rows and 4 adapters"):
        model(**tokens(model))
    inarch.activate(model, "long")
    assert torch.equal(
        answered(model, tokens(model))[:1], answered(model, {"input_ids": tokens(model)["input_ids"][:1]})
    )


class Maskless(nn.Module):
    """A model of tokens that takes no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids).cumsum(1)
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_model_that_cannot_hide_a_place_takes_prompts_of_one_length() -> None:
    model = Maskless()
    for name, length in LENGTHS.items():
        inarch.attach(model, PromptTuning(length=length), name=name)
    ids = torch.randint(3, 60, (2, 4))
    with inarch.route(model, ["short", None]), pytest.raises(RouteError, match="takes no attention mask"):
        model(ids)
    with inarch.route(model, ["short", "other"]):
        together = model(ids)
    inarch.activate(model, "other")
    torch.testing.assert_close(together[1:], model(ids[1:]))
