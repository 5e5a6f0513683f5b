import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from inarch import ConfigError
from inarch_benchmarks.comparison import Base
from inarch_benchmarks.published import lm_eval_task as module
from inarch_benchmarks.published.lm_eval_task import TASKS, LmEvalTask, lm_eval_task

from hub_stand_ins import WORDS, train

CHOICES = ["good", "bad", "great"]


@pytest.fixture
def colours(tmp_path: Path) -> type[LmEvalTask]:
    """A task of the library in a folder of one's own: the answer is the question's first word."""
    pytest.importorskip("lm_eval")
    draw = random.Random(0)
    files = {}
    for split, size in {"train": 40, "validation": 5, "test": 12}.items():
        rows = []
        for number in range(size):
            word = CHOICES[number % 3]
            rows.append(
                {
                    "question": f"{word} {' '.join(draw.choices(WORDS[4:], k=3))}",
                    "choices": CHOICES,
                    "label": number % 3,
                }
            )
        files[split] = tmp_path / f"{split}.jsonl"
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "words.yaml").write_text(
        "task: words\n"
        "dataset_path: json\n"
        "dataset_kwargs:\n"
        f"  data_files: {{{', '.join(f'{split}: {file}' for split, file in files.items())}}}\n"
        f"  cache_dir: {tmp_path / 'cache'}\n"
        "output_type: multiple_choice\n"
        "training_split: train\n"
        "validation_split: validation\n"
        "test_split: test\n"
        'doc_to_text: "Question: {{question}} Answer:"\n'
        "doc_to_target: label\n"
        "doc_to_choice: choices\n"
    )
    module._library_task.cache_clear()
    return lm_eval_task("words", chance=1 / 3, folder=str(folder))


def test_lessons_load_and_score(colours: type[LmEvalTask], bases: dict[str, Base]) -> None:
    task, base = colours(), bases["llama"]
    lessons = task.lessons(base, seed=0)
    assert (len(lessons.training), len(lessons.validation)) == (36, 4)
    model = task.load(base, seed=0)
    versions = [parameter._version for parameter in model.parameters()]
    with torch.no_grad():
        before = task.score(model, task.examination(base))
    assert versions == [parameter._version for parameter in model.parameters()]
    losses = train(model, task, lessons, steps=60, method="full")
    assert losses[-1] < losses[0]
    with torch.no_grad():
        test = task.score(model, task.examination(base))
        validation = task.score(model, lessons.validation)
    assert test.metrics["acc"] == sum(test.items) / 12 > before.metrics["acc"]
    assert test.metrics["acc"] > 0.9
    assert len(validation.items) == 4


def test_the_score_is_by_likelihood(colours: type[LmEvalTask], bases: dict[str, Base]) -> None:
    task, base = colours(), bases["llama"]
    model, examples = task.load(base, seed=0), task.examination(base)
    right = []
    for row in examples.rows:  # type: ignore[attr-defined]
        likelihoods = []
        for choice in CHOICES:
            ids = examples.tokenizer(f"Question: {row['question']} Answer: {choice}", return_tensors="pt").input_ids  # type: ignore[attr-defined]
            with torch.no_grad():
                logits: Any = model(ids).logits
            likelihoods.append(float(logits[0, -2].log_softmax(-1)[ids[0, -1]]))
        right.append(float(likelihoods.index(max(likelihoods)) == row["label"]))
    with torch.no_grad():
        assert task.score(model, examples).items == right


def test_labels_are_the_answer_alone(colours: type[LmEvalTask], bases: dict[str, Base]) -> None:
    lessons = colours().lessons(bases["llama"], seed=0)
    batch = lessons.training.batch([0, 1, 2])
    words = lessons.training.tokenizer.convert_ids_to_tokens(batch["labels"][batch["labels"] != -100])  # type: ignore[attr-defined]
    assert words == [CHOICES[row["label"]] for row in lessons.training.rows[:3]]  # type: ignore[attr-defined]


def test_lessons_never_touch_the_test(
    colours: type[LmEvalTask], bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    load = datasets.load_dataset

    class Guarded(dict[str, Any]):
        def __getitem__(self, split: str) -> Any:
            assert split == "train", f"the split {split} was read"
            return super().__getitem__(split)

    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **settings: Guarded(load(*given, **settings)))
    lessons = colours().lessons(bases["llama"], seed=0)
    lessons.training.batch(range(36))
    with pytest.raises(AssertionError, match="the split test was read"):
        colours().examination(bases["llama"])


def test_the_fingerprint_is_of_the_rows(colours: type[LmEvalTask], monkeypatch: pytest.MonkeyPatch) -> None:
    first = colours().fingerprint()
    assert first == colours().fingerprint()
    monkeypatch.setattr(module, "LONGEST", 8)
    assert colours().fingerprint() != first


def test_without_the_library_the_extra_is_named(bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch) -> None:
    module._library_task.cache_clear()
    for name in ("lm_eval", "lm_eval.tasks"):
        monkeypatch.setitem(sys.modules, name, None)
    for ask in (lambda: TASKS[0]().lessons(bases["llama"], seed=0), TASKS[0]().fingerprint):
        with pytest.raises(ConfigError, match=r"pip install inarch\[lm-eval\]"):
            ask()


def test_the_tasks_are_known_to_the_library() -> None:
    library = pytest.importorskip("lm_eval")
    files = {file.stem: file for file in Path(library.__file__).parent.joinpath("tasks").glob("*/*.yaml")}
    for task in TASKS:
        name = task.name.removeprefix("lm-eval/")
        assert f"task: {name}\n" in files[name].read_text()  # its own index of all tasks takes half a minute
