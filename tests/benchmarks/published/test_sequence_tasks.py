import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from inarch import DataError, ModelError
from inarch.training import Table
from inarch_benchmarks.comparison import Base
from inarch_benchmarks.published import clue, hub
from inarch_benchmarks.published import glue as glue_tasks
from inarch_benchmarks.published.hub import Split
from inarch_benchmarks.published.sequence_task import SequenceTask

from hub_stand_ins import train, write

Make = Callable[[str, Sequence[str], int], None]
TASKS: dict[str, type[SequenceTask]] = {task.name: task for task in (*glue_tasks.TASKS, *clue.TASKS)}

# Columns and numbers of classes as on the hub's pages of nyu-mll/glue and clue/clue.
SCHEMA: dict[str, tuple[tuple[str, ...], int]] = {
    "glue/sst2": (("sentence",), 2),
    "glue/cola": (("sentence",), 2),
    "glue/mrpc": (("sentence1", "sentence2"), 2),
    "glue/qqp": (("question1", "question2"), 2),
    "glue/qnli": (("question", "sentence"), 2),
    "glue/rte": (("sentence1", "sentence2"), 2),
    "glue/mnli": (("premise", "hypothesis"), 3),
    "glue/stsb": (("sentence1", "sentence2"), 1),
    "clue/tnews": (("sentence",), 15),
    "clue/afqmc": (("sentence1", "sentence2"), 2),
}


def test_every_task_is_here() -> None:
    assert set(TASKS) == set(SCHEMA)


@pytest.mark.parametrize("name", SCHEMA)
def test_lessons_load_and_score(name: str, glue: Make, bases: dict[str, Base]) -> None:
    glue(name, *SCHEMA[name])
    task, base = TASKS[name](), bases["bert" if name.startswith("clue") else "roberta"]
    lessons = task.lessons(base, seed=0)
    assert (len(lessons.training), len(lessons.validation)) == (36, 4)
    model = task.load(base, seed=0)
    losses = train(model, task, lessons, steps=3)
    assert all(loss > 0 for loss in losses)
    with torch.no_grad():
        score = task.score(model, task.examination(base))
    assert set(score.metrics) == set(task.metrics)
    assert task.metric in task.metrics
    if task.metric == "accuracy":
        assert len(score.items) == (24 if name == "glue/mnli" else 12)
        assert sum(score.items) / len(score.items) == pytest.approx(score.metrics["accuracy"])
    else:
        assert not score.items


@pytest.mark.parametrize("name", ["glue/sst2", "glue/stsb"])
def test_learns_what_the_first_word_tells(name: str, glue: Make, bases: dict[str, Base]) -> None:
    glue(name, *SCHEMA[name])
    task, base = TASKS[name](), bases["roberta"]
    model = task.load(base, seed=0)
    train(model, task, task.lessons(base, seed=0), steps=80)
    with torch.no_grad():
        assert task.score(model, task.examination(base)).metrics[task.metric] > 0.95


@pytest.mark.parametrize("name", SCHEMA)
def test_lessons_never_touch_the_test(
    name: str, glue: Make, bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    glue(name, *SCHEMA[name])
    read = hub.read

    def guarded(split: Split) -> Table:
        assert split.name == "train", f"the test split {split} was read"
        return read(split)

    monkeypatch.setattr(hub, "read", guarded)
    task = TASKS[name]()
    lessons = task.lessons(bases["roberta"], seed=0)
    lessons.training.batch(range(len(lessons.training)))
    lessons.validation.batch(range(len(lessons.validation)))
    with pytest.raises(AssertionError, match="the test split"):
        task.examination(bases["roberta"])


def test_the_genres_of_mnli_are_slices(glue: Make, bases: dict[str, Base]) -> None:
    glue("glue/mnli", *SCHEMA["glue/mnli"])
    task, base = TASKS["glue/mnli"](), bases["roberta"]
    model = task.load(base, seed=0)
    with torch.no_grad():
        test = task.score(model, task.examination(base))
        validation = task.score(model, task.lessons(base, 0).validation)
    assert set(test.slices) == {"matched", "mismatched"}
    assert test.slices["matched"] == sum(test.items[:12]) / 12
    assert test.slices["mismatched"] == sum(test.items[12:]) / 12
    assert not validation.slices


def test_the_head_follows_from_the_seed_and_leaves_the_random_state(glue: Make, bases: dict[str, Base]) -> None:
    glue("glue/rte", *SCHEMA["glue/rte"])
    task, base = TASKS["glue/rte"](), bases["roberta"]
    torch.manual_seed(5)
    random.seed(5)
    before = (torch.get_rng_state(), random.getstate())
    one, same, other = task.load(base, 1), task.load(base, 1), task.load(base, 2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    weights = [model.state_dict() for model in (one, same, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    backbone = [name for name in weights[0] if name.startswith("roberta.")]
    assert backbone
    assert all(torch.equal(weights[0][name], weights[2][name]) for name in backbone)
    assert not torch.equal(weights[0]["classifier.dense.weight"], weights[2]["classifier.dense.weight"])
    assert not one.training


def test_without_pretraining_every_weight_follows_from_the_seed(glue: Make, bases: dict[str, Base]) -> None:
    glue("glue/rte", *SCHEMA["glue/rte"])
    task, base = TASKS["glue/rte"](), bases["roberta"]
    pretrained = task.load(base, 1).state_dict()
    one, same, other = (task.load(base, seed, pretrained=False).state_dict() for seed in (1, 1, 2))
    matrix = "roberta.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(one[matrix], same[matrix])
    assert not torch.equal(one[matrix], other[matrix])
    assert not torch.equal(one[matrix], pretrained[matrix])
    assert {name: value.shape for name, value in one.items()} == {n: v.shape for n, v in pretrained.items()}


def test_a_pooler_that_no_checkpoint_has_is_trained(glue: Make, bases: dict[str, Base]) -> None:
    glue("clue/afqmc", *SCHEMA["clue/afqmc"])
    task, base = TASKS["clue/afqmc"](), bases["bert"]
    pooler = ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    assert task.fresh(task.load(base, 0)) == pooler
    assert task.fresh(task.load(base, 0, pretrained=False)) == pooler


def test_the_fingerprint_is_of_the_rows_and_of_what_is_asked(
    glue: Make, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glue("glue/rte", *SCHEMA["glue/rte"])
    kind = TASKS["glue/rte"]
    first = kind().fingerprint()
    assert first == kind().fingerprint()
    monkeypatch.setattr(kind, "longest", 8)
    shorter = kind().fingerprint()
    monkeypatch.undo()
    monkeypatch.setenv(hub.VARIABLE, str(data))
    row = {"sentence1": "a", "sentence2": "b", "label": 1, "idx": 0}
    write(data, "nyu-mll/glue/rte", "validation", [row])
    hub._read.cache_clear()
    assert len({first, shorter, kind().fingerprint()}) == 3


def test_the_held_out_rows_are_none_of_the_trained_ones(glue: Make, bases: dict[str, Base]) -> None:
    glue("glue/rte", *SCHEMA["glue/rte"])
    lessons = [TASKS["glue/rte"]().lessons(bases["roberta"], seed) for seed in (0, 1)]
    trained, held = ([row["idx"] for row in part.rows] for part in (lessons[0].training, lessons[0].validation))  # type: ignore[attr-defined]
    assert sorted(trained + held) == list(range(40))
    assert held == [row["idx"] for row in lessons[1].validation.rows]  # type: ignore[attr-defined]


def test_a_missing_column_is_named(data: Path, bases: dict[str, Base]) -> None:
    write(data, "nyu-mll/glue/rte", "train", [{"sentence1": "a", "sentence_2": "b", "label": 1}] * 4)
    with pytest.raises(DataError, match='nyu-mll/glue/rte:train has no column "sentence2"'):
        TASKS["glue/rte"]().lessons(bases["roberta"], 0)


def test_a_model_of_another_kind_is_refused(glue: Make, bases: dict[str, Base]) -> None:
    glue("glue/rte", *SCHEMA["glue/rte"])
    with pytest.raises(ModelError):
        TASKS["glue/rte"]().load(Base("gone", "/no/such/folder", ""), 0)
