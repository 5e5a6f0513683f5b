"""Runs of the GPU benchmarks, rehearsed on a CPU at tiny sizes."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from inarch_benchmarks.gpu import __main__ as command
from inarch_benchmarks.gpu import features, memory, parity, prepare, table, training
from inarch_benchmarks.gpu.cell import Cell, Results
from inarch_benchmarks.gpu.features import LINES
from inarch_benchmarks.gpu.scale import MEASURED, REHEARSED
from inarch_benchmarks.gpu.worker import Context, run_apart

BENCHMARKS = Path(command.__file__).parent


REHEARSED_CELLS = (
    *("dequantise", "bitsandbytes", "low rank", "quantise", "opcheck", "products", "engine"),
    *("*/16x2/peft + bitsandbytes*", "*/16x2/Inarch, same*", "*/16x2/Inarch, memory to spare"),
    *("*/Inarch within 7GB", "*/longest*Inarch", "kernel/*", "feature/fused products", "*/nf4/static/Inarch"),
)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The cells of a rehearsal by stage, as many as it takes to run every stage.

    In a process of its own: contenders change settings of libraries.
    """
    output = tmp_path_factory.mktemp("rehearsal")
    call = [sys.executable, "-m", "inarch_benchmarks.gpu", "--rehearse", "--in-process"]
    call += ["--output", str(output), "--only", *REHEARSED_CELLS]
    done = subprocess.run(call, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    documents = [json.loads(file.read_text()) for file in output.glob("gpu_*.json")]
    for document in documents:
        assert document["rehearsed"]
        assert {"date", "cpu", "torch", "bitsandbytes", "ceilings"} <= set(document["runs"][0])
    return {document["stage"]: document["cells"] for document in documents}


@pytest.mark.thorough
def test_training_is_rehearsed_with_parity_and_a_step_in_groups(rehearsal: dict[str, dict[str, Any]]) -> None:
    cells = rehearsal["training"]
    assert {name.split("/")[-1] for name in cells} >= {"peft + bitsandbytes", "Inarch, same checkpointing"}
    for name, cell in cells.items():
        if cell["status"] == "unavailable":
            assert "Liger" in name
            assert cell["reason"]
            continue
        assert cell["status"] == "done", cell
        assert cell["parity"]["passed"] is True, (name, cell["parity"])
        assert cell["tokens_per_second"] > 0
        assert len(cell["milliseconds"]["all"]) == REHEARSED.steps
        assert cell["breakdown"]["milliseconds"]["dequantise"] > 0
        assert cell["mfu"] <= cell["hfu"]


@pytest.mark.thorough
def test_kernels_are_rehearsed_with_every_check(rehearsal: dict[str, dict[str, Any]]) -> None:
    cells = rehearsal["correctness"]
    assert set(cells) == {"dequantise", "bitsandbytes", "low rank", "quantise", "products", "engine"} | {"opcheck"}
    for name, cell in cells.items():
        assert cell["status"] == "done", cell
        assert cell["number"] > 0
        assert cell["passed"], (name, cell["failed"])


@pytest.mark.thorough
def test_memory_features_and_decoding_are_rehearsed(rehearsal: dict[str, dict[str, Any]]) -> None:
    for stage in ("memory", "features", "decoding"):
        for name, cell in rehearsal[stage].items():
            assert cell["status"] in ("done", "unavailable"), (name, cell)
    assert rehearsal["memory"]["tiny/longest context within 4GB/Inarch"]["longest"] == REHEARSED.context
    assert {f"kernel/{line.name}" for line in LINES if line.kind == "kernel"} <= set(rehearsal["features"])
    assert rehearsal["decoding"]["tiny/nf4/static/Inarch"]["tokens_per_second"] > 0


def test_a_crash_ends_one_cell_and_a_run_without_time_none(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, sys\n"
        "order, report = sys.argv[1:]\n"
        "for cell in json.load(open(order))['cells']:\n"
        "    with open(report, 'a') as file:\n"
        "        print(json.dumps({'name': cell['name']}), file=file)\n"
        "    if cell['settings'].get('crash'):\n"
        "        os._exit(9)\n"
        "    with open(report, 'a') as file:\n"
        "        print(json.dumps({'name': cell['name'], 'outcome': {'status': 'done'}}), file=file)\n"
    )
    cells = [Cell("training", name, {"crash": name == "second"}) for name in ("first", "second", "third")]
    context = Context(REHEARSED, tmp_path)
    found = {
        cell.name: outcome
        for cell, outcome in run_apart(cells, time.time() + 60, context, [sys.executable, str(script)])
    }
    assert [found[name]["status"] for name in ("first", "second", "third")] == ["done", "crashed", "done"]
    assert "code 9" in found["second"]["reason"]
    assert not list(run_apart(cells, time.time() - 1, context, [sys.executable, str(script)]))


def test_a_cell_that_is_cut_short_counts_as_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inarch_benchmarks.gpu.worker.PATIENCE", 0.0)
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys, time\nprint(json.dumps({'name': 'slow'}), file=open(sys.argv[2], 'a'))\ntime.sleep(60)\n"
    )
    found = list(
        run_apart(
            [Cell("training", "slow")], time.time() + 1, Context(REHEARSED, tmp_path), [sys.executable, str(script)]
        )
    )
    assert found == []


def test_a_run_goes_on_where_the_one_before_it_ended_and_mixes_no_rehearsal_in(tmp_path: Path) -> None:
    results = Results(tmp_path, "training", rehearsed=True)
    results.begin({"date": "today"})
    results.add("one", {"status": "done"})
    again = Results(tmp_path, "training", rehearsed=True)
    assert [cell.name for cell in again.missing([Cell("training", "one"), Cell("training", "two")])] == ["two"]
    again.begin({"date": "tomorrow"})
    again.add("two", {"status": "done"})
    document = json.loads((tmp_path / "gpu_training.json").read_text())
    assert [document["runs"][document["cells"][name]["run"]]["date"] for name in ("one", "two")] == [
        "today",
        "tomorrow",
    ]
    with pytest.raises(SystemExit, match="rehearsal"):
        Results(tmp_path, "training")


def test_the_grid_begins_with_everyone_on_the_most_important_batch() -> None:
    cells = training.cells(MEASURED)
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names)
    assert all(name.startswith("llama-3.1-8b/2048x4/") for name in names[:8])
    for size in ("2048x1", "2048x8", "4096x2", "4096x4", "8192x2"):
        assert f"llama-3.1-8b/{size}/Unsloth" in names
    wanted = [cell for cell in cells if cell.name.endswith("at Unsloth's memory")]
    assert all(names.index(cell.settings["memory_of"]) < names.index(cell.name) for cell in wanted)
    assert {cell.settings["limit"] for cell in memory.cells(MEASURED) if "limit" in cell.settings} == {"44GB", "24GB"}


def test_parity_fails_for_another_loss_other_gradients_or_another_end(tmp_path: Path) -> None:
    found, gradients = {"first_loss": 2.0, "last_loss": 1.0}, {"q.A": torch.tensor([1.0, 0.0])}
    reference = tmp_path / "parity.pt"
    assert parity.compared(found, gradients, reference)["passed"] is None
    parity.keep(found, gradients, reference)
    assert parity.compared(found, gradients, reference)["passed"] is True
    assert parity.compared({**found, "first_loss": 2.03}, gradients, reference)["passed"] is False
    assert parity.compared({**found, "last_loss": 1.03}, gradients, reference)["passed"] is False
    assert parity.compared(found, {"q.A": torch.tensor([1.0, 0.05])}, reference)["passed"] is False
    assert parity.compared(found, {"k.A": gradients["q.A"]}, reference)["passed"] is False


def test_every_kernel_and_feature_has_a_line_and_every_line_a_measurement() -> None:
    assert {f"{line.kind}/{line.name}" for line in LINES} == {cell.name for cell in features.cells(MEASURED)}


def test_the_table_says_what_was_not_run_and_what_was_dropped() -> None:
    assert table.table(None).count("not run") == len(LINES)
    name = f"{LINES[0].kind}/{LINES[0].name}"
    document: dict[str, Any] = {"runs": [{"gpu": "a GPU", "date": "today", "torch": "2"}], "cells": {}}
    document["cells"][name] = {"status": "done", "gain": 1.01, "against": "bitsandbytes", "kept": False}
    assert "1.01x bitsandbytes | dropped" in table.table(document)
    readme = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    rewritten = table.rewritten(readme, document)
    assert rewritten.startswith("before\n")
    assert rewritten.endswith("\nafter\n")
    assert "old" not in rewritten
    assert table.rewritten(rewritten, document) == rewritten


def test_wheels_are_brought_without_what_is_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(requirement: str, folder: Path) -> Path:
        wheel = folder / "bitsandbytes-0.50.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in ("__init__.py", "libbitsandbytes_cpu.so", "libbitsandbytes_cuda130.so"):
                archive.writestr(f"bitsandbytes/{name}", "x")
            for name in ("cuda118", "cuda128", "rocm70", "xpu2025"):
                archive.writestr(f"bitsandbytes/libbitsandbytes_{name}.so", "x" * 1000)
        return wheel

    monkeypatch.setattr(prepare, "download", download)
    (wheel,) = prepare.bring(("bitsandbytes==0.50.2",), tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        assert [Path(name).name for name in archive.namelist()] == [
            "__init__.py",
            "libbitsandbytes_cpu.so",
            "libbitsandbytes_cuda130.so",
        ]
    monkeypatch.setattr(prepare, "download", lambda *_: pytest.fail("it is there already"))
    assert prepare.bring(("bitsandbytes==0.50.2",), tmp_path) == [wheel]


def test_no_rehearsal_is_among_the_committed_results() -> None:
    for file in (BENCHMARKS.parent / "results").glob("gpu_*.json"):
        assert not json.loads(file.read_text())["rehearsed"], file
