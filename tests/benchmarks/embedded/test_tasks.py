from typing import Any

import pytest
import torch
from torch import nn

import inarch
from inarch import ModelError
from inarch_benchmarks.comparison.examples import Examples, TensorExamples
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.task import BenchmarkTask
from inarch_benchmarks.embedded.operations import right_answers
from inarch_benchmarks.embedded.story import BLAME, PRAISE, SLICES
from inarch_benchmarks.embedded.tasks.digits import DigitsTask
from inarch_benchmarks.embedded.tasks.polarity import KNOWN, PolarityTask
from inarch_benchmarks.embedded.tasks.sequence import SequenceTask

TASKS: list[type[BenchmarkTask]] = [DigitsTask, PolarityTask, SequenceTask]


@pytest.fixture(params=TASKS, ids=lambda task: task.name)
def task(request: pytest.FixtureRequest) -> BenchmarkTask:
    chosen: BenchmarkTask = request.param()
    return chosen


def rows_of(examples: Examples) -> list[tuple[float, ...]]:
    """What the model is given of each row, padding aside."""
    assert isinstance(examples, TensorExamples)
    inputs = examples.tensors["pixel_values" if "pixel_values" in examples.tensors else "input_ids"]
    rows = inputs.flatten(1)
    kept = examples.tensors.get("attention_mask", torch.ones_like(rows)).bool()
    return [tuple(row[keep].tolist()) for row, keep in zip(rows, kept, strict=True)]


def test_training_validation_and_test_are_disjoint(task: BenchmarkTask, bases: dict[str, Base]) -> None:
    base = bases[task.model]
    test = set(rows_of(task.examination(base)))
    validation = set(rows_of(task.lessons(base, 0).validation))
    pool = {row for seed in range(8) for row in rows_of(task.lessons(base, seed).training)}
    if task.name == "digits":
        # Of the scans themselves a few are alike; their rows in the data set are held apart in test_digits.py.
        assert len(test & validation) + len(test & pool) + len(validation & pool) <= 2
    else:
        assert not test & (validation | pool)
        assert not validation & pool
        assert len(test) == 1000


def test_a_seed_draws_the_training_examples_alone(task: BenchmarkTask, bases: dict[str, Base]) -> None:
    base = bases[task.model]
    one, again, other = (task.lessons(base, seed) for seed in (0, 0, 1))
    assert rows_of(one.training) == rows_of(again.training)
    assert set(rows_of(one.training)) != set(rows_of(other.training))
    assert len(one.training) == len(other.training)
    assert rows_of(one.validation) == rows_of(other.validation)


def test_the_head_is_the_same_with_pretrained_weights_and_without(task: BenchmarkTask, bases: dict[str, Base]) -> None:
    base = bases[task.model]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    pretrained, drawn, again, other = (
        dict(task.load(base, seed, pretrained=weights).named_parameters())
        for seed, weights in ((0, True), (0, False), (0, False), (1, True))
    )
    assert torch.equal(torch.get_rng_state(), state)
    head = [name for name in pretrained if name.startswith("classifier")]
    assert bool(head) == (task.name != "sequence")
    for name in head:
        assert torch.equal(pretrained[name], drawn[name])
        assert name.endswith("bias") or not torch.equal(pretrained[name], other[name])
    backbone = [name for name in pretrained if name not in head and pretrained[name].dim() > 1]
    for name in backbone:
        assert torch.equal(pretrained[name], other[name])
        assert torch.equal(drawn[name], again[name])
        assert not torch.equal(pretrained[name], drawn[name])


def test_a_score_is_the_mean_of_its_items(task: BenchmarkTask, bases: dict[str, Base]) -> None:
    base = bases[task.model]
    model, examples = task.load(base, 0), task.lessons(base, 0).validation
    with torch.no_grad():
        score = task.score(model, examples)
        batch: dict[str, Any] = examples.batch(range(len(examples)))
        labels = batch.pop("labels")
        logits = model(**batch).logits
    right = right_answers(logits, labels) if task.name == "sequence" else logits.argmax(-1) == labels
    assert list(score.items) == right.float().tolist()
    assert score.metrics[task.metric] == pytest.approx(sum(score.items) / len(examples))
    assert set(score.metrics) == set(task.metrics)
    assert min(score.slices.values()) <= score.metrics[task.metric] <= max(score.slices.values())


class Oracle(nn.Module):
    """Gives the right answer to every row of some examples, but for the first."""

    def __init__(self, task: BenchmarkTask, examples: TensorExamples) -> None:
        super().__init__()
        self.labels = examples.tensors["labels"].clone()
        self.shift = task.name == "sequence"
        self.place = 0
        self.labels[0] = (self.labels[0] + 1).clamp(0, 1) if not self.shift else self.labels[0].roll(1)

    def forward(self, **arguments: torch.Tensor) -> Any:
        count = len(next(iter(arguments.values())))
        labels = self.labels[self.place : self.place + count]
        self.place += count
        logits = nn.functional.one_hot(labels.clamp(min=0), 40).float()
        return type("Output", (), {"logits": logits.roll(-1, 1) if self.shift else logits})


def test_right_answers_score(task: BenchmarkTask, bases: dict[str, Base]) -> None:
    examples = task.examination(bases[task.model])
    assert isinstance(examples, TensorExamples)
    score = task.score(Oracle(task, examples), examples)
    assert list(score.items) == [0.0] + [1.0] * (len(examples) - 1)
    assert sum(value < 1 for value in score.slices.values()) == 1


@pytest.mark.parametrize("method", ["head", "lora"])
def test_methods_go_on(task: BenchmarkTask, method: str, bases: dict[str, Base]) -> None:
    base = bases[task.model]
    model = task.load(base, 0)
    adapter = inarch.attach(model, method, train=task.fresh(model))
    batch = task.lessons(base, 0).training.batch(range(4))
    model(**batch).loss.backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())


def test_fingerprints(bases: dict[str, Base]) -> None:
    found = {task().fingerprint() for task in TASKS}
    assert len(found) == len(TASKS)
    assert all(len(fingerprint) == 64 for fingerprint in found)
    fewer: Any = type("Fewer", (PolarityTask,), {"rows": 255})
    assert fewer().fingerprint() != PolarityTask().fingerprint()


def test_polarity_asks_for_words_that_training_lacks() -> None:
    task = PolarityTask()
    adjectives = set(PRAISE + BLAME)
    taught, asked = (
        {word for text in texts for word in text.text.split()} & adjectives
        for texts in (task.pool(), task.test_texts())
    )
    assert taught == set(PRAISE[:KNOWN] + BLAME[:KNOWN])
    assert asked == adjectives
    for texts in (task.pool(), task.validation_texts(), task.test_texts()):
        assert [text.slice for text in texts[:4]] == list(SLICES)
        assert 0.45 < sum(text.label for text in texts) / len(texts) < 0.55


def test_a_model_that_cannot_do_the_task_is_refused(bases: dict[str, Base]) -> None:
    with pytest.raises(ModelError, match="31 letters and names: story-bert has"):
        SequenceTask().load(bases["story-bert"], 0)
    with pytest.raises(ModelError, match="has no tokenizer that pads"):
        PolarityTask().lessons(bases["sequence-gpt"], 0)
    with pytest.raises(ModelError, match="nowhere cannot be loaded with AutoModelForImageClassification"):
        DigitsTask().load(Base("nowhere", "/nowhere", ""), 0)
