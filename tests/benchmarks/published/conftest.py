"""Data and bases for the published tasks."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from inarch_benchmarks.comparison import Base
from inarch_benchmarks.published import hub

from hub_stand_ins import SIZES, WORDS, make_bases, write


@pytest.fixture(autouse=True)
def _fresh_rows() -> Iterator[None]:
    hub._read.cache_clear()
    yield
    hub._read.cache_clear()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the hub; empty."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(hub.VARIABLE, str(folder))
    return folder


@pytest.fixture
def glue(data: Path) -> Callable[[str, Sequence[str], int], None]:
    """Writes a task of GLUE or CLUE whose label is told by the first word of its first text."""

    def make(task: str, texts: Sequence[str], classes: int) -> None:
        family, subset = task.split("/")
        place = {"glue": "nyu-mll/glue", "clue": "clue/clue"}[family] + f"/{subset}"
        parts = ["validation_matched", "validation_mismatched"] if subset == "mnli" else ["validation"]
        for number, (split, size) in enumerate([("train", 40), *((part, 12) for part in parts)]):
            draw = random.Random(number)
            rows = []
            for index in range(size):
                label: float = index % max(classes, 2)
                words = [WORDS[int(label)], *draw.choices(WORDS[4:], k=4)]
                row: dict[str, Any] = {name: " ".join(draw.sample(words[1:], 3)) for name in texts}
                row[texts[0]] = " ".join(words)
                rows.append(row | {"label": label if classes > 1 else 5.0 * label, "idx": index})
            write(data, place, split, rows)

    return make


@pytest.fixture
def gsm8k(data: Path) -> Path:
    """MetaMathQA and GSM8K, where the answer is the number in the question."""

    def question(number: int) -> str:
        return f"the book is {number % 10} {'very ' * (number // 10)}?"

    asked = [{"question": question(n), "answer": f"{n % 10} is good\n#### {n % 10}"} for n in range(30)]
    made = [
        {
            "type": "GSM_AnsAug",
            "query": f"{question(n)} ?",
            "original_question": question(n),
            "response": f"{n % 10} is good. The answer is: {n % 10}",
        }
        for n in range(30)
    ]
    made.append(made[0] | {"query": "very " * 300})
    write(data, "meta-math/MetaMathQA", "train", made)
    write(data, "openai/gsm8k/main", "train", asked)
    write(data, "openai/gsm8k/main", "test", [row | {"question": f"not {row['question']}"} for row in asked[:8]])
    return data


@pytest.fixture
def xsum(data: Path) -> Path:
    """Articles whose summary is their first words."""
    draw = random.Random(0)
    for split, size in SIZES.items():
        rows = []
        for number in range(size):
            words = draw.choices(WORDS, k=12)
            rows.append({"document": " ".join(words), "summary": " ".join(words[:3]), "id": str(number)})
        write(data, "EdinburghNLP/xsum", split, rows)
    return data


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    """Tiny random models as their papers' checkpoints are: of masked or causal language models, without a new head."""
    return make_bases(tmp_path_factory.mktemp("bases"))
