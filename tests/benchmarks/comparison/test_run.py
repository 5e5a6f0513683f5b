"""One run: what is recorded, and what becomes of runs that go wrong."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.registry import registry
from inarch_benchmarks.comparison.catalogue import prepare, task
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.comparison.run import _losses_of_bases, perform
from inarch_benchmarks.comparison.specification import RunSpecification

from toy_comparison import CLASSES, WIDTH, LeastSquares, ToyModel, ToyTask

pytestmark = pytest.mark.usefixtures("toys")

BOTH = ["first", "second"]


def specification(method: str = "lora", on: str = "toy", **changes: Any) -> RunSpecification:
    settings = changes.pop("settings", {"targets": BOTH, "rank": 2} if method == "lora" else {})
    values: dict[str, Any] = {
        "task": on,
        "data": "d",
        "model": "toy-model",
        "weights": "w",
        "method": method,
        "settings": inarch.method(method, **settings).to_dict() if method != "zero-shot" else {},
        "learning_rate": 0.01,
        "recipe": Recipe(steps=20, batch_size=16),
        "seed": 0,
        "purpose": "test",
    }
    return RunSpecification(**(values | changes))


def run(method: str = "lora", on: str = "toy", **changes: Any) -> RunRecord:
    return perform(specification(method, on, **changes), prepare("toy-model", lambda work: None))


def test_a_run_says_everything() -> None:
    record = run()
    assert (record.status, record.reason) == ("finished", "")
    assert record.test is not None
    assert record.test.rows == 80
    assert record.test.metrics["accuracy"] == pytest.approx(sum(record.test.values) / 80)
    assert record.parameters is not None
    assert record.parameters.method == 2 * (WIDTH + WIDTH) + 2 * (WIDTH + CLASSES)
    assert record.parameters.base == WIDTH * WIDTH + WIDTH + WIDTH * CLASSES + CLASSES
    assert record.forgetting is not None
    assert record.forgetting.before != record.forgetting.after
    assert record.curve.steps[-1] == 20
    assert len(record.curve.validation) == 3
    assert record.seconds is not None
    assert record.stored_bytes is not None
    assert record.stored_bytes > 4 * record.parameters.trainable


def test_memory_is_counted_to_the_byte() -> None:
    memory = run().memory
    assert memory is not None
    own, base = 2 * (WIDTH + WIDTH) + 2 * (WIDTH + CLASSES), WIDTH * WIDTH + WIDTH + WIDTH * CLASSES + CLASSES
    tensors = 4
    assert memory.weights == 4 * (own + base)
    assert memory.gradients == 4 * own
    assert memory.optimizer == 2 * 4 * own + 4 * tensors  # two averages, and a count of steps for each tensor
    assert memory.activations > 0
    assert memory.device_peak is None or torch.cuda.is_available()


def test_more_rows_keep_more_activations_and_parts_of_a_batch_fewer() -> None:
    def activations(**recipe: Any) -> int:
        memory = run(recipe=Recipe(steps=1, **recipe)).memory
        assert memory is not None
        return memory.activations

    one, two = activations(batch_size=16), activations(batch_size=32)
    assert one < two <= 2 * one
    assert activations(batch_size=32, accumulation=2) < two


def test_one_specification_gives_one_result() -> None:
    first, second = run(), run()
    assert first.test == second.test
    assert first.curve == second.curve
    assert run(seed=1).curve != first.curve


def test_methods_see_the_same_batches_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    examples = type(task("toy").lessons(prepare("toy-model", lambda work: None), 0).training)
    batch = examples.batch

    def watched(self: Any, rows: Any) -> Any:
        seen[-1].extend(rows if len(rows) == 16 else [])
        return batch(self, rows)

    monkeypatch.setattr(examples, "batch", watched)
    for method in ("lora", "full", "bitfit"):
        seen.append([])
        run(method, settings={"targets": BOTH, "rank": 2} if method == "lora" else {})
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) >= 20 * 16


def test_training_never_asks_for_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def examination(self: Any, base: Any) -> Any:
        asked.append("test")
        raise AssertionError("asked for the test")

    monkeypatch.setattr(ToyTask, "examination", examination)
    assert run(purpose="tuning").status == "finished"
    assert asked == []
    failed = run()
    assert failed.status == "failed"
    assert len(failed.curve.steps) == 20  # training was over when the test was asked for
    assert asked == ["test"]


def test_general_data_that_a_method_refuses_cost_the_run_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = ToyModel.general_loss

    def refuses(self: Any, base: Any, backbone: nn.Module) -> float:
        if any(parameter.requires_grad for parameter in backbone.parameters()) and refused:
            raise inarch.ConfigError("no positions are left")
        refused.append(1)
        return losses(self, base, backbone)

    refused: list[int] = []
    _losses_of_bases.clear()
    monkeypatch.setattr(ToyModel, "general_loss", refuses)
    record = run()
    assert record.status == "finished"
    assert record.forgetting is None
    assert record.test is not None


def test_a_diverged_run_is_recorded_as_such() -> None:
    record = run("full", learning_rate=1e38)
    assert record.status == "diverged"
    assert "of 20" in record.reason
    assert record.test is None


def test_a_run_without_training_is_the_base() -> None:
    record = run("zero-shot", recipe=Recipe(steps=0, batch_size=16), learning_rate=0.0)
    assert record.status == "finished"
    assert record.parameters is not None
    assert record.parameters.trainable == 0
    assert record.forgetting is not None
    assert record.forgetting.before == record.forgetting.after


def test_full_rank_lora_reaches_full_fine_tuning_on_a_linear_model() -> None:
    """Both can be any linear map, so the best that either can reach is the least squares solution."""
    recipe = LeastSquares.recipe
    rows = LeastSquares._rows().tensors
    x, y = rows["features"].double(), rows["labels"].double()
    best = float(((x @ torch.linalg.lstsq(x, y).solution - y) ** 2).mean())
    full = run("full", "toy-linear", recipe=recipe, learning_rate=0.05)
    lora = run(
        "lora",
        "toy-linear",
        recipe=recipe,
        learning_rate=0.05,
        settings={"targets": ["map"], "rank": WIDTH, "alpha": float(WIDTH)},
    )
    for record in (full, lora):
        assert record.test is not None
        assert -record.test.metrics["fit"] == pytest.approx(best, rel=1e-3)
    low = run("lora", "toy-linear", recipe=recipe, learning_rate=0.05, settings={"targets": ["map"], "rank": 2})
    assert low.test is not None
    assert -low.test.metrics["fit"] > 2 * best


def test_adalora_ends_at_its_target_rank() -> None:
    settings = {
        "targets": BOTH,
        "target_rank": 1,
        "initial_rank": 3,
        "initial_warmup": 10,
        "final_warmup": 20,
        "interval": 1,
    }
    record = run("adalora", settings=settings, recipe=Recipe(steps=60, batch_size=16))
    assert record.status == "finished", record.reason
    assert record.parameters is not None
    peak = 3 * (WIDTH + WIDTH + 1) + 3 * (WIDTH + CLASSES + 1)
    assert record.parameters.trainable == peak
    # Two singular values are left in all, wherever they are.
    ranks = [(first, 2 - first) for first in range(3)]
    assert record.parameters.effective in {a * (WIDTH + WIDTH + 1) + b * (WIDTH + CLASSES + 1) for a, b in ranks}


class Cheat(inarch.OutputAdapter):
    """Learns whenever it is asked, also in an examination."""

    def __init__(self, site: inarch.Site) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(site.out_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.training:
            with torch.no_grad():
                self.shift += 1
        return y + self.shift


@dataclass(frozen=True, kw_only=True)
class Cheating(inarch.Method):
    """Changes itself in evaluation mode."""

    name = "cheating"

    def build(self, site: inarch.Site) -> inarch.SiteAdapter:
        return Cheat(site)


@dataclass(frozen=True, kw_only=True)
class Crashing(inarch.Method):
    """Raises in its first step."""

    name = "crashing"

    def build(self, site: inarch.Site) -> inarch.SiteAdapter:
        return Cheat(site)

    def penalty(self, adapters: Any) -> Tensor | None:
        raise RuntimeError("planted\ncrash")


@pytest.fixture
def strangers() -> Any:
    from types import SimpleNamespace

    plugin = SimpleNamespace(name="s", origin="s", distribution="s", version="1")
    for method in (Cheating, Crashing):
        registry()._kind("method")[method.name] = [(method, plugin)]
    yield
    for method in (Cheating, Crashing):
        del registry()._kind("method")[method.name]


@pytest.mark.usefixtures("strangers")
def test_a_method_that_learns_from_test_data_is_found_out() -> None:
    record = run("cheating", settings={"targets": BOTH})
    assert record.status == "failed"
    assert "may not learn from test data" in record.reason


@pytest.mark.usefixtures("strangers")
def test_a_crashed_run_is_recorded_with_its_reason_in_one_line() -> None:
    record = run("crashing", settings={"targets": BOTH})
    assert record.status == "failed"
    assert record.reason.startswith("RuntimeError: planted crash (test_run.py:")
    assert record.test is None
