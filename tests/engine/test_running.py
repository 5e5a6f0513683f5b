"""The engine: features held against the model without them, one after the other."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

import inarch
from inarch.engine.feature import Declined, Feature
from inarch.engine.running import TOKENS, lean, part_of
from inarch.errors import ConfigError, DataError, FormatError, PlanError

from families import FAMILIES, assert_same, perturb, snapshot


def adapted(family: str = "llama", method: str = "lora") -> nn.Module:
    model = FAMILIES[family].model().train()
    perturb(inarch.attach(model, method))
    return model


class Recorded(Feature):
    """Notes what is asked of it."""

    name = "recorded"

    def __init__(self, notes: list[str], name: str) -> None:
        self.notes, self.own = notes, name

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        self.notes.append(f"start {self.own}")
        return f"{self.own} is on"

    def stop(self, model: nn.Module) -> None:
        self.notes.append(f"stop {self.own}")


class Wrong(Recorded):
    """Halves what the model's head gives."""

    name = "wrong"

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        self.hook = model.lm_head.register_forward_hook(lambda module, args, output: output / 2)
        return super().start(model, batch)

    def stop(self, model: nn.Module) -> None:
        self.hook.remove()
        super().stop(model)


class Unwilling(Recorded):
    name = "unwilling"

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        raise Declined("it is of no use here")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_trains_the_same_with_it_and_is_given_back(family: str) -> None:
    torch.manual_seed(0)
    model, batch = adapted(family), FAMILIES[family].batch()
    model.eval()  # no dropout
    loss = model(**batch).loss.item()
    before = snapshot(model)
    with inarch.engine(model, batch) as engine:
        assert engine.outcomes[0].used
        assert model(**batch).loss.item() == pytest.approx(loss, rel=1e-5)
    assert_same(before, snapshot(model))


def test_features_start_in_order_and_stop_in_the_other() -> None:
    notes: list[str] = []
    engine = inarch.engine(
        adapted(), FAMILIES["llama"].batch(), features=[Recorded(notes, "first"), Recorded(notes, "second")]
    )
    engine.stop()
    engine.stop()
    assert notes == ["start first", "start second", "stop second", "stop first"]


def test_what_changes_results_is_left_out_with_the_reason() -> None:
    notes: list[str] = []
    features = [Wrong(notes, "wrong"), Unwilling(notes, "unwilling"), Recorded(notes, "right")]
    engine = inarch.engine(adapted(), FAMILIES["llama"].batch(), features=features)
    assert notes == ["start wrong", "stop wrong", "start right"]
    assert [outcome.used for outcome in engine.outcomes] == [False, False, True]
    wrong, unwilling, right = engine.report().splitlines()
    assert wrong.startswith("wrong: left out, it changes the loss by")
    assert unwilling == "unwilling: left out, it is of no use here"
    assert right == "recorded: right is on"


def test_adapters_dropout_does_not_count_as_a_change() -> None:
    model = FAMILIES["llama"].model().train()
    perturb(inarch.attach(model, "lora", dropout=0.5))
    with inarch.engine(model, FAMILIES["llama"].batch()) as engine:
        assert engine.outcomes[0].used, engine.report()


def test_a_budget_of_memory_plans_checkpoints() -> None:
    with inarch.engine(adapted(), FAMILIES["llama"].batch(), memory="1GB") as engine:
        assert engine.outcomes[-1].used, engine.report()
        assert "of 1 GB" in engine.outcomes[-1].text


def test_one_engine_a_model() -> None:
    model, batch = adapted(), FAMILIES["llama"].batch()
    engine = inarch.engine(model, batch)
    with pytest.raises(PlanError, match="stop it first"):
        inarch.engine(model, batch)
    engine.stop()
    inarch.engine(model, batch).stop()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"memory": "10KB"}, PlanError, "the leanest plan needs"),
        ({"memory": "much"}, ConfigError, "no size of memory"),
        ({"fp8": True}, FormatError, "compute capability 8.9"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_stays(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = adapted()
    before = snapshot(model)
    with pytest.raises(error, match=message):
        inarch.engine(model, FAMILIES["llama"].batch(), **settings)
    assert_same(before, snapshot(model))


def test_a_model_must_have_something_to_train_and_a_loss() -> None:
    model, batch = FAMILIES["llama"].model().requires_grad_(False), FAMILIES["llama"].batch()
    with pytest.raises(PlanError, match="attach an adapter first"):
        inarch.engine(model, batch)
    del batch["labels"]
    with pytest.raises(DataError, match="labels"):
        inarch.engine(adapted(), batch)


def test_a_part_of_a_batch_on_a_cpu_is_all_of_it() -> None:
    batch = FAMILIES["llama"].batch()
    assert part_of(batch).keys() == batch.keys()
    assert all(part_of(batch)[key] is value for key, value in batch.items())


class OnGPU(torch.Tensor):
    """Says that it lies on a GPU."""

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True


def on_gpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_subclass(OnGPU)


def test_a_part_of_a_batch_on_a_gpu_is_what_ends_with_the_last_label_of_the_row_with_most() -> None:
    labels = torch.full((3, 4 * TOKENS), -100)
    labels[1, 900:1000] = 1
    labels[2, 5:20] = 1
    ids = torch.arange(3 * 4 * TOKENS).view(3, -1)
    images, classes = torch.randn(3, 1, 8, 8), torch.arange(3)
    part = part_of(
        {key: on_gpu(value) for key, value in {"input_ids": ids, "labels": labels, "images": images}.items()}
    )
    assert torch.equal(part["input_ids"], ids[1:2, 1000 - TOKENS : 1000])
    assert torch.equal(part["labels"], labels[1:2, 1000 - TOKENS : 1000])
    assert torch.equal(part["images"], images[1:2])
    short = part_of({"input_ids": on_gpu(ids[:, :9]), "labels": on_gpu(classes), "scale": 2.0})
    assert torch.equal(short["input_ids"], ids[:1, :9])
    assert torch.equal(short["labels"], classes[:1])
    assert short["scale"] == 2.0


def test_lean_changes_nothing_on_a_cpu() -> None:
    model = adapted()
    before = snapshot(model)
    with lean(model):
        assert_same(before, snapshot(model))


def test_a_copy_of_a_model_with_an_engine_computes_the_same() -> None:
    model, batch = adapted().eval(), FAMILIES["llama"].batch()
    with inarch.engine(model, batch):
        twin = copy.deepcopy(model)
        assert torch.equal(twin(**batch).logits, model(**batch).logits)
