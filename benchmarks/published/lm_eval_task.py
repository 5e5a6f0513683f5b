"""Multiple-choice tasks of EleutherAI's lm-evaluation-harness, scored by its own code.

The prompt, the answers to choose from and the score are the library's (``lm_eval``, tested with 0.4.13); the training
examples are made of its prompts with the right answer after them.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Any, ClassVar

from torch import nn

from inarch_benchmarks.comparison import Base, BenchmarkTask, Examples, Lessons, Recipe, Score
from inarch_benchmarks.comparison.extras import need
from inarch_benchmarks.published.batches import padded
from inarch_benchmarks.published.encoded import EncodedExamples, Example, Row
from inarch_benchmarks.published.held_out import held_out
from inarch_benchmarks.published.pretrained_base import load_base, token_limit, tokenizer_of

LONGEST = 1024
VALIDATION = 500
"""At most so many rows of the training split are held out for validation."""


class LmEvalTask(BenchmarkTask):
    """One multiple-choice task of the library, for a causal model.

    Attributes:
        training: Name of its training split.
        folder: Where the YAML file of a task of your own lies; None for those that come with the library.
    """

    metric = "acc"
    metrics: ClassVar[tuple[str, ...]] = ("acc",)
    model = "Qwen/Qwen2.5-0.5B"
    recipe = Recipe(steps=1000, batch_size=16, warmup=0.1)
    training: ClassVar[str] = "train"
    folder: ClassVar[str | None] = None

    @property
    def own_name(self) -> str:
        """What the library calls it."""
        return self.name.removeprefix("lm-eval/")

    def fingerprint(self) -> str:
        """The SHA-256 of the rows that are trained on and of those of the test, and of the library's version."""
        return _fingerprint(self.own_name, self.folder, self.training, (LONGEST, VALIDATION))

    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        """The base with its own language-modelling head; no seed matters where it is pretrained."""
        model: nn.Module = load_base("AutoModelForCausalLM", base, seed, pretrained=pretrained).model
        return model

    def lessons(self, base: Base, seed: int) -> Lessons:
        """The training split but for what is held out, and that; the same for every seed."""
        # Asked of its training split alone: the library looks at the first row of what it evaluates.
        task = _library_task(self.own_name, self.folder, self.training)
        rows = list(task.eval_docs)
        trained, held = held_out(len(rows), VALIDATION)
        return Lessons(_examples(base, task, rows, trained), _examples(base, task, rows, held))

    def examination(self, base: Base) -> Examples:
        """Whatever the library evaluates the task on: its test split, or its validation split where that is secret."""
        task = _library_task(self.own_name, self.folder, None)
        rows = list(task.eval_docs)
        return _examples(base, task, rows, range(len(rows)))

    def score(self, model: nn.Module, examples: Examples) -> Score:
        """The share of rows whose right answer is the likeliest, as ``simple_evaluate`` counts it.

        Raises:
            ConfigError: ``lm_eval`` is not installed; the message names the extra.
        """
        assert isinstance(examples, ChoiceExamples)
        wrapper = need("lm_eval.models.huggingface", "lm-eval")
        name, whole = examples.task.task_name, len(examples) == len(examples.task.eval_docs)
        with _quiet():
            results = need("lm_eval", "lm-eval").simple_evaluate(
                model=wrapper.HFLM(pretrained=model, tokenizer=examples.tokenizer, batch_size=16),
                tasks=[examples.task],
                task_manager=_manager(self.folder),
                samples=None if whole else {name: list(examples.numbers)},
                bootstrap_iters=0,
                random_seed=None,
                numpy_random_seed=None,
                torch_random_seed=None,
            )
        right = [float(row["acc"]) for row in results["samples"][name]]
        return Score({"acc": sum(right) / len(right)}, right)


class ChoiceExamples(EncodedExamples):
    """Rows of a task of the library.

    Attributes:
        task: The library's task, whose evaluated rows these are among.
        numbers: Of these rows among them, ascending.
    """

    def __init__(self, rows: Sequence[Row], tokenizer: Any, limit: int, task: Any, numbers: Sequence[int]) -> None:
        """Hold the rows."""
        super().__init__(rows, tokenizer, limit, self._encoded_rows, padded)
        self.task = task
        self.numbers = numbers

    def _encoded_rows(self, rows: Sequence[Row], tokenizer: Any, limit: int) -> list[Example]:
        return [_example(*_prompt_and_answer(self.task, row), tokenizer, limit) for row in rows]


def lm_eval_task(name: str, chance: float, training: str = "train", folder: str | None = None) -> type[LmEvalTask]:
    """The class of a task of the library, to be registered.

    Args:
        name: What the library calls it.
        chance: Accuracy of guesses.
        training: Name of its training split.
        folder: Where the YAML file of a task of your own lies.
    """
    described: dict[str, Any] = {"name": f"lm-eval/{name}", "chance": chance, "training": training, "folder": folder}
    words = {"__doc__": f"{name} of lm-evaluation-harness.", "__module__": __name__}
    return type(name.title().replace("_", ""), (LmEvalTask,), words | described)


TASKS: tuple[type[LmEvalTask], ...] = (
    lm_eval_task("arc_easy", 0.25),
    lm_eval_task("arc_challenge", 0.25),
    lm_eval_task("hellaswag", 0.25),
    lm_eval_task("openbookqa", 0.25),
    lm_eval_task("piqa", 0.5),
    lm_eval_task("sciq", 0.25),
)


@lru_cache(maxsize=8)
def _fingerprint(name: str, folder: str | None, training: str, limits: tuple[int, ...]) -> str:
    need("lm_eval", "lm-eval")
    digest = hashlib.sha256(json.dumps([name, version("lm_eval"), training, limits]).encode())
    for split in (training, None):
        for row in _library_task(name, folder, split).eval_docs:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _library_task(name: str, folder: str | None, split: str | None) -> Any:
    """A task of the library; with a ``split``, asked of that one instead of its test."""
    wanted: Any = name
    if split is not None:  # the library takes other settings for a task of its own only from within a group
        wanted = {"group": "lessons", "task": [{"task": name, "test_split": split, "validation_split": None}]}
    with _quiet():
        (task,) = _manager(folder).load([wanted])["tasks"].values()
    return task


@lru_cache(maxsize=2)
def _manager(folder: str | None) -> Any:
    """The library's index of a folder of tasks, or of its own, which takes many seconds to make."""
    with _quiet():
        return need("lm_eval.tasks", "lm-eval").TaskManager(include_path=folder, include_defaults=folder is None)


def _examples(base: Base, task: Any, rows: Sequence[Row], numbers: Sequence[int]) -> ChoiceExamples:
    limit = token_limit(base, LONGEST)
    return ChoiceExamples([rows[number] for number in numbers], tokenizer_of(base), limit, task, numbers)


def _prompt_and_answer(task: Any, row: Mapping[str, Any]) -> tuple[str, str]:
    """The prompt and the right answer, joined as the library joins them."""
    target = task.doc_to_target(row)
    answer = task.doc_to_choice(row)[target] if isinstance(target, int) else target
    return task.doc_to_text(row), f"{task.config.target_delimiter}{answer}"


def _example(prompt: str, answer: str, tokenizer: Any, limit: int) -> Example:
    """Tokens of both, at most the last ``limit`` of them; those of the answer are labels."""
    given = tokenizer(prompt)["input_ids"]
    whole = tokenizer(prompt + answer)["input_ids"]
    labels = [-100] * len(given) + whole[len(given) :]
    return {"input_ids": whole[-limit:], "labels": labels[-limit:]}


@contextmanager
def _quiet() -> Iterator[None]:
    """The library reports every step of its own; inside, only errors are heard."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
