"""A base and tasks that take milliseconds, for tests of the comparison; a plugin, named in INARCH_PLUGINS."""

import time
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch_benchmarks.comparison import Base, BenchmarkModel, BenchmarkTask, Lessons, Recipe, Score, TensorExamples

WIDTH = 8
CLASSES = 3


class Network(nn.Module):
    """Two maps; the loss is cross-entropy for labels, the mean square for targets."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.second = nn.Linear(WIDTH, CLASSES)

    @property
    def base_model(self) -> nn.Module:
        return self

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.second(torch.tanh(self.first(features)))
        return SimpleNamespace(loss=None if labels is None else functional.cross_entropy(logits, labels), logits=logits)


class Linear(nn.Module):
    """One linear map, fitted by least squares: its best loss is known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(WIDTH, WIDTH, bias=False)

    @property
    def base_model(self) -> nn.Module:
        return self

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Any:
        given = self.map(features)
        return SimpleNamespace(loss=None if labels is None else functional.mse_loss(given, labels), logits=given)


class ToyModel(BenchmarkModel):
    """A base that is drawn, not trained."""

    name = "toy-model"
    work = 1

    def prepare(self, on_step: Any) -> Base:
        on_step(1)
        return Base(self.name, "nowhere", "drawn-by-seed-0")

    def general_loss(self, base: Base, backbone: nn.Module) -> float:
        return float(backbone(_data(99, 50)[0]).logits.square().mean())


class ToyTask(BenchmarkTask):
    """A label by which of three directions is the longest, seen through noise."""

    name = "toy"
    metric = "accuracy"
    metrics = ("accuracy",)
    chance = 1 / CLASSES
    model = "toy-model"
    recipe = Recipe(steps=20, batch_size=16)

    def fingerprint(self) -> str:
        return f"{self.name}-1"

    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        return _drawn(Network, 0 if pretrained else 1000 + seed)

    def lessons(self, base: Base, seed: int) -> Lessons:
        return Lessons(_examples(seed, 100), _examples(1001, 60))

    def examination(self, base: Base) -> TensorExamples:
        return _examples(1002, 80)

    def score(self, model: nn.Module, examples: Any) -> Score:
        batch = examples.batch(range(len(examples)))
        right = (model(**batch).logits.argmax(-1) == batch["labels"]).float()
        return Score({"accuracy": float(right.mean())}, right.tolist(), {"first half": float(right[:40].mean())})


class SlowTask(ToyTask):
    """The same, slowly: its runs can be killed."""

    name = "toy-slow"

    def lessons(self, base: Base, seed: int) -> Lessons:
        time.sleep(0.15)
        return super().lessons(base, seed)


class LeastSquares(ToyTask):
    """A linear map to be found, with noise; the score is less the mean square on the training examples."""

    name = "toy-linear"
    metric = "fit"
    metrics = ("fit",)
    recipe = Recipe(steps=600, batch_size=100, schedule="cosine")

    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        return _drawn(Linear, 0)

    def lessons(self, base: Base, seed: int) -> Lessons:
        return Lessons(self._rows(), self._rows())

    def examination(self, base: Base) -> TensorExamples:
        return self._rows()

    def score(self, model: nn.Module, examples: Any) -> Score:
        return Score({"fit": -float(model(**examples.batch(range(len(examples)))).loss)})

    @staticmethod
    def _rows() -> TensorExamples:
        generator = torch.Generator().manual_seed(5)
        features = torch.randn(100, WIDTH, generator=generator)
        wanted = features @ torch.randn(WIDTH, WIDTH, generator=generator)
        return TensorExamples(features=features, labels=wanted + 0.1 * torch.randn(100, WIDTH, generator=generator))


TASKS = (ToyTask, SlowTask, LeastSquares)


@inarch.hookimpl
def register_benchmark_tasks(register: Any) -> None:
    """Bring the tasks."""
    for task in TASKS:
        register(task)


@inarch.hookimpl
def register_benchmark_models(register: Any) -> None:
    """Bring the base."""
    register(ToyModel)


def _drawn(kind: type[nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind().eval()


def _examples(seed: int, rows: int) -> TensorExamples:
    features, labels = _data(seed, rows)
    return TensorExamples(features=features, labels=labels)


def _data(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, WIDTH, generator=generator)
    noisy = features[:, :CLASSES] + 0.3 * torch.randn(rows, CLASSES, generator=generator)
    return features, noisy.argmax(-1)
