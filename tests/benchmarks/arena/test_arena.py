import json
import sys
from pathlib import Path
from typing import Any

import pytest

from inarch_benchmarks.arena import __main__ as command
from inarch_benchmarks.arena import arena, document
from inarch_benchmarks.arena.arena import Row, contest
from inarch_benchmarks.arena.catalogue import TASKS, Entry
from inarch_benchmarks.arena.cell import FAILED, MISSING, PASSED, REFUSED, Cell
from inarch_benchmarks.arena.plot import save_plot

LLAMA = Entry("causal-lm", "llama", "LlamaForCausalLM")
BERT = Entry("masked-lm", "bert", "BertForMaskedLM")
ROWS = [
    Row(LLAMA, "", 10, {"lora": Cell(PASSED, sites=14, seconds=0.5), "bitfit": Cell(REFUSED, 'no part has "@bias": Available: @norm')}),
    Row(BERT, "", 20, {"lora": Cell(FAILED, "2 of 8 sites got no gradient: a.b.c, d.e", seconds=0.25), "bitfit": Cell(PASSED)}),
    Row(Entry("causal-lm", "gone", "Gone"), "ImportError: timm"),
]  # fmt: skip


def test_a_model_that_cannot_be_made_is_told_with_its_reason() -> None:
    row = contest(Entry("causal-lm", "llama", "NoSuchClass"), ["lora"])
    assert "NoSuchClass" in row.unbuilt
    assert not row.cells


def test_what_takes_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "SECONDS", 1)

    def forever(*_: Any) -> Cell:
        while True:
            pass

    monkeypatch.setattr(arena, "subject", forever)
    assert "TimeoutError: it took more than 1 s" in contest(LLAMA, []).unbuilt


def test_results_are_counted_by_method_and_grouped_by_reason() -> None:
    told = document.document(ROWS, ["lora", "bitfit"], 3.0)
    assert told["models"] == 2
    assert told["unbuilt"] == {"causal-lm/gone": "ImportError: timm"}
    assert told["summary"]["lora"] == {
        PASSED: 1,
        REFUSED: 0,
        FAILED: 1,
        MISSING: 0,
        "refused share": 0.0,
        "seconds": 0.8,
    }
    assert told["summary"]["bitfit"]["refused share"] == 0.5
    assert json.loads(json.dumps(told)) == told
    assert document.by_reason(ROWS[:2], FAILED) == {("lora", "N of N sites got no gradient: NAME"): ["masked-lm/bert"]}
    page = document.page(ROWS, ["lora", "bitfit"], 3.0)
    assert '| bitfit | 1 | no part has "@bias" | causal-lm/llama |' in page
    assert "| causal-lm/gone | ImportError: timm |" in page


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    save_plot(ROWS, ["lora", "bitfit"], tmp_path / "arena.png")
    assert (tmp_path / "arena.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("failing", [False, True])
def test_the_command_writes_its_results_and_exits_with_one_when_a_cell_failed(
    failing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ROWS if failing else ROWS[:1]
    monkeypatch.setattr(command, "run", lambda *_: rows)
    monkeypatch.setattr(command, "chosen", lambda *_: [row.entry for row in rows])
    monkeypatch.setattr(
        sys, "argv", ["arena", "--methods", "lora,bitfit", "--models", "llama", "--output", str(tmp_path), "--json"]
    )
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == int(failing)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "arena.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"arena.json", "arena.md", "arena.png"}


@pytest.mark.parametrize("wrong", [["--methods", "lroa"], ["--models", "lama3"]])
def test_the_command_refuses_what_it_does_not_know(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["arena", *wrong])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_models_are_chosen_by_key_or_type_and_by_task() -> None:
    assert [each.key for each in command.chosen("t5", ["seq2seq-lm"])] == ["seq2seq-lm/t5"]
    assert [each.key for each in command.chosen("causal-lm/llam?", list(TASKS))] == ["causal-lm/llama"]
    assert {each.task for each in command.chosen("*", ["audio-classification"])} == {"audio-classification"}


def test_processes_run_every_architecture_and_give_the_rows_in_order() -> None:
    done: list[Row] = []
    rows = arena.run([BERT, LLAMA], ["lora"], 2, done.append, contest=Row, preload=["inarch_benchmarks.arena.arena"])  # type: ignore[arg-type]
    assert rows == [Row(BERT, ["lora"]), Row(LLAMA, ["lora"])]  # type: ignore[arg-type]
    assert sorted(done, key=rows.index) == rows


def test_a_process_that_dies_fails_its_own_cells_alone() -> None:
    (row,) = arena.run(
        [LLAMA], ["lora", "ia3"], 1, lambda _: None, contest=int, preload=["inarch_benchmarks.arena.arena"]
    )  # type: ignore[arg-type]
    assert [(cell.outcome, cell.reason) for cell in row.cells.values()] == [
        (FAILED, "the process ended with exit code 1")
    ] * 2
