from pathlib import Path

import pytest
from rich.console import Console

from inarch_benchmarks.arena import __main__ as command
from inarch_benchmarks.arena.arena import Row
from inarch_benchmarks.arena.catalogue import Entry
from inarch_benchmarks.arena.cell import FAILED, PASSED, Cell
from inarch_benchmarks.arena.diary import Diary

LLAMA = Entry("causal-lm", "llama", "LlamaForCausalLM")
BERT = Entry("masked-lm", "bert", "BertForMaskedLM")
GONE = Entry("causal-lm", "gone", "Gone")
ROWS = [
    Row(LLAMA, "", 10, {"lora": Cell(PASSED, sites=14, seconds=0.5)}),
    Row(BERT, "", 20, {"lora": Cell(FAILED, "2 of 8 sites got no gradient", "BrokenLawError")}),
    Row(GONE, "ImportError: timm"),
]


def test_rows_come_back_as_they_were_noted_and_a_broken_line_is_left_out(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "deep" / "arena.jsonl", ["lora"])
    assert diary.rows([LLAMA]) == []
    for row in ROWS:
        diary.note(row)
    with diary.path.open("a") as file:
        file.write('{"key": "causal-lm/l')
    assert diary.rows([LLAMA, BERT, GONE]) == ROWS
    assert diary.rows([BERT]) == [ROWS[1]]
    diary.close()
    assert not diary.path.exists()


def test_rows_of_other_methods_are_run_again(tmp_path: Path) -> None:
    Diary(tmp_path / "arena.jsonl", ["lora"]).note(ROWS[0])
    assert Diary(tmp_path / "arena.jsonl", ["lora", "ia3"]).rows([LLAMA]) == []


def test_a_run_goes_on_with_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diary = Diary(tmp_path / "arena.jsonl", ["lora"])
    diary.note(ROWS[1])
    ran = []

    def run(entries: list[Entry], methods: list[str], processes: int, on_done: object) -> list[Row]:
        ran.extend(entries)
        return [ROWS[0]]

    monkeypatch.setattr(command, "run", run)
    assert command.watched([LLAMA, BERT], ["lora"], 1, Console(quiet=True), diary) == ROWS[:2]
    assert ran == [LLAMA]
