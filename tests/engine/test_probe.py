"""The probe: it measures what a training step gives, tells rounding from error, and leaves no trace."""

import copy
import random
import sys
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import inarch
from inarch.engine.probe import Difference, Measured, difference, measure

from families import FAMILIES, assert_same, perturb, snapshot


@pytest.fixture
def adapted() -> tuple[nn.Module, Any]:
    model = FAMILIES["llama"].model()
    adapter = inarch.attach(model, "lora", rank=2, targets=["@linear"], dropout=0.5)
    perturb(adapter)
    return model, adapter


def test_it_measures_loss_and_gradients_without_dropout(adapted: tuple[nn.Module, Any]) -> None:
    model, _ = adapted
    batch = FAMILIES["llama"].batch()
    found = measure(model, batch)

    plain = copy.deepcopy(model).eval()  # dropout is off there too
    loss = plain(**batch).loss
    loss.backward()
    expected = {name: each.grad for name, each in plain.named_parameters() if each.grad is not None}
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-6)
    assert found.gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found.gradients[name], gradient)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_and_the_generators_are_untouched(family: str) -> None:
    model, batch = FAMILIES[family].model(), FAMILIES[family].batch()
    inarch.attach(model, "adalora", steps=10)
    model(**batch).loss.backward()
    model.get_submodule(next(name for name, _ in model.named_children())).train()
    gradients = {
        name: (each.grad, each.grad.clone()) for name, each in model.named_parameters() if each.grad is not None
    }
    before, clock = snapshot(model), dict(vars(inarch.adapters(model)["default"].clock))
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()

    measure(model, batch)

    assert_same(before, snapshot(model))
    assert vars(inarch.adapters(model)["default"].clock) == clock
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert numpy.random.get_state()[1].tolist() == states[2]
    for name, parameter in model.named_parameters():
        if name in gradients:
            assert parameter.grad is gradients[name][0]
            assert torch.equal(parameter.grad, gradients[name][1])
        else:
            assert parameter.grad is None


class Model(nn.Module):
    """With whatever draws numbers or keeps state."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5)
        self.map = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, fail: bool = False) -> Any:
        def block(x: Tensor) -> Tensor:
            y = functional.dropout(self.map(x), 0.5, self.training)
            z = functional.scaled_dot_product_attention(y[None], y[None], y[None], None, 0.5)[0]
            return self.drop(torch.dropout(z, 0.5, True))

        y = checkpoint(block, self.attention(*[self.norm(x)] * 3)[0], use_reentrant=False)
        if fail:
            raise RuntimeError("as asked")

        class Output:
            loss = y.square().mean() + 0 * torch.rand(())

        return Output()


def test_two_measurements_are_the_same_whatever_drops_out() -> None:
    torch.manual_seed(0)
    model, batch = Model(), {"x": torch.randn(5, 4)}
    first = measure(model, batch)
    torch.rand(7)
    second = measure(model, batch)
    assert difference(first, second) == Difference(0.0, pytest.approx(1.0), 0.0, ())
    assert first.loss == second.loss

    class Plain(Model):
        def forward(self, x: Tensor, fail: bool = False) -> Any:
            y = self.map(self.attention(*[self.norm(x)] * 3)[0])
            z = functional.scaled_dot_product_attention(y[None], y[None], y[None])[0]

            class Output:
                loss = z.square().mean()

            return Output()

    plain = Plain()
    plain.load_state_dict(model.state_dict())
    plain.train()
    plain.attention.dropout = 0.0
    loss = plain(**batch).loss
    loss.backward()
    assert first.loss == pytest.approx(float(loss.detach()))
    torch.testing.assert_close(first.gradients["map.weight"], plain.map.weight.grad)


@pytest.mark.parametrize("fail", [False, True])
def test_buffers_are_put_back(fail: bool) -> None:
    model, batch = Model(), {"x": torch.randn(5, 4), "fail": fail}
    before = snapshot(model)
    if fail:
        with pytest.raises(RuntimeError, match="as asked"):
            measure(model, batch)
    else:
        measure(model, batch)
    assert_same(before, snapshot(model))
    assert all(each.grad is None for each in model.parameters())


def test_a_large_buffer_that_is_written_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["inarch.engine.probe"], "LARGEST_STATE", 0)
    with pytest.raises(inarch.ModelError, match=r"BatchNorm1d writes to its buffer num_batches_tracked of 1 elements"):
        measure(Model(), {"x": torch.randn(5, 4)})


def test_a_batch_without_a_loss_is_refused() -> None:
    batch = FAMILIES["llama"].batch()
    del batch["labels"]
    with pytest.raises(inarch.DataError, match=r"LlamaForCausalLM gives no loss on the batch \(input_ids\)"):
        measure(FAMILIES["llama"].model(), batch)


def measured(loss: float, **gradients: list[float]) -> Measured:
    return Measured(loss, {name: torch.tensor(value) for name, value in gradients.items()})


def test_the_difference_is_that_of_the_definitions() -> None:
    found = difference(measured(2.0, a=[3.0], b=[0.0, 4.0]), measured(2.1, a=[4.0], b=[0.0, 3.0]))
    assert found.loss == pytest.approx(0.05)
    assert found.cosine == pytest.approx(24 / 25)
    assert found.norm == 0.0
    assert found.lost == ()


@pytest.mark.parametrize(
    ("after", "dtype", "reason"),
    [
        (measured(1.0, a=[1.0, 2.0]), torch.float32, ""),
        (measured(1.001, a=[1.0, 2.0]), torch.bfloat16, ""),
        (measured(1.001, a=[1.0, 2.0]), torch.float32, "changes the loss by 0.001 of itself, more than 0.0001"),
        (measured(1.02, a=[1.0, 2.0]), torch.float16, "more than 0.01"),
        (measured(float("nan"), a=[1.0, 2.0]), torch.float32, "changes the loss by nan"),
        (measured(1.0, a=[1.0, 2.0], b=[1.0]), torch.float32, "comes or goes: b"),
        (measured(1.0), torch.float32, "comes or goes: a"),
        (measured(1.0, a=[0.0, 0.0]), torch.float32, "comes or goes: a"),
        (measured(1.0, a=[1.2, 1.9]), torch.float32, "their cosine is 0.99"),
        (measured(1.0, a=[2.0, 4.0]), torch.float32, "norm of the gradients by 1 of itself"),
        (measured(1.0, a=[float("nan"), 2.0]), torch.float32, "cosine is nan"),
        (measured(1.0, a=[1.0, 2.0], b=[1e-6]), torch.float32, ""),
        (measured(1.0, a=[1.0, 2.0], b=[0.0]), torch.float32, ""),
    ],
)
def test_reasons(after: Measured, dtype: torch.dtype, reason: str) -> None:
    found = difference(measured(1.0, a=[1.0, 2.0]), after).reason(dtype)
    assert reason in found
    assert bool(reason) == bool(found)


def test_gradients_that_are_all_zero_must_stay_so() -> None:
    zero = measured(1.0, a=[0.0])
    assert difference(zero, zero).reason(torch.float32) == ""
    assert difference(zero, measured(1.0)).reason(torch.float32) == ""
    assert difference(measured(1.0), measured(1.0)).reason(torch.float32) == ""
    assert "comes or goes: a" in difference(zero, measured(1.0, a=[1e-9])).reason(torch.bfloat16)


def test_the_gradients_of_a_fresh_lora_are_compared() -> None:
    model, batch = FAMILIES["llama"].model(), FAMILIES["llama"].batch()
    inarch.attach(model, "lora", rank=2)
    found = measure(model, batch)
    zero = [name for name, value in found.gradients.items() if not value.any()]
    assert zero
    assert len(zero) < len(found.gradients)
    assert difference(found, measure(model, batch)).reason(torch.float32) == ""
