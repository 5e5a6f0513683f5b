"""A suite as a user runs it: complete, killed and gone on with, limited, refused."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from inarch import ConfigError, PlanError, UnknownNameError
from inarch_benchmarks.analysis.find import find
from inarch_benchmarks.comparison import timing
from inarch_benchmarks.comparison.cell import Cell
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.comparison.store import RunStore
from inarch_benchmarks.comparison.suite import Suite, parse_suite
from inarch_benchmarks.executors import Here
from inarch_benchmarks.session.limits import Limits
from inarch_benchmarks.session.plan import Plan, kept_plan
from inarch_benchmarks.session.reporting import entries, report_plan
from inarch_benchmarks.session.session import run_suite

from toy_comparison import ToyTask

TESTS = Path(__file__).parent.parent.parent

LORA = {"method": "lora", "label": "lora", "settings": {"targets": ["first", "second"], "rank": 2}}

CONTENT: dict[str, Any] = {
    "name": "toys",
    "tasks": ["toy"],
    "methods": [LORA, {"method": "bitfit", "learning_rate": 0.01}],
    "seeds": 3,
    "timing": 0,
}


def suite(**changes: Any) -> Suite:
    return parse_suite(CONTENT | changes, "toys")


def run(folder: Path, limits: Limits | None = None, **changes: Any) -> Plan:
    return run_suite(suite(**changes), "toys", folder, lambda: Here(1), limits or Limits())


@pytest.mark.usefixtures("toys")
def test_every_cell_gets_every_seed(tmp_path: Path) -> None:
    plan = run(tmp_path)
    found = {entry.contender: entry for entry in entries(plan, tmp_path)}
    assert set(found) == {"full", "zero-shot", "lora", "bitfit", "lora, no pretraining"}
    assert {len(entry.finished) for entry in found.values()} == {3}
    assert "head is left out on toy" in plan.refused[0]  # this base has no head
    kinds = {name: entry.kind for name, entry in found.items()}
    assert kinds["full"] == kinds["zero-shot"] == "reference"
    assert kinds["lora, no pretraining"] == "control"


@pytest.mark.usefixtures("toys")
def test_tuning_is_equal_and_on_seeds_of_its_own(tmp_path: Path) -> None:
    plan = run(tmp_path, tuning={"trials": 5, "seeds": 2}, control=False)
    records = list(RunStore(tmp_path).records())
    tests = [each for each in records if each.specification.purpose == "test"]
    tuning = [each for each in records if each.specification.purpose == "tuning"]
    for method in ("lora", "bitfit", "full"):
        mine = [each.specification for each in tuning if each.specification.method == method]
        assert len(mine) == 5 * 2
        assert len({each.learning_rate for each in mine}) == 5
    assert {each.specification.seed for each in tuning}.isdisjoint(each.specification.seed for each in tests)
    assert all(each.test is None and each.validation is not None for each in tuning)
    for entry in entries(plan, tmp_path):
        if entry.contender == "zero-shot":
            continue
        (chosen,) = [trial for trial in entry.trials if trial.chosen]
        assert chosen.score == max(trial.score for trial in entry.trials if trial.score is not None)
        assert {each.specification.learning_rate for each in entry.finished} == {chosen.settings["learning_rate"]}


@pytest.mark.usefixtures("toys")
def test_a_second_session_runs_nothing_again(tmp_path: Path) -> None:
    run(tmp_path, tuning={"trials": 3})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*.json")}
    limits = Limits()
    run(tmp_path, limits, tuning={"trials": 3})
    assert limits.begun == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*.json")} == before


@pytest.mark.usefixtures("toys")
def test_more_seeds_and_methods_reuse_what_is_there(tmp_path: Path) -> None:
    run(tmp_path)
    limits = Limits()
    run(tmp_path, limits, seeds=4, methods=[LORA, "bitfit", LORA | {"label": "again", "learning_rate": 0.5}])
    # A fourth seed of five contenders, four of a bitfit with another rate, four of the new one.
    assert limits.begun == 4 + 4 + 4


@pytest.mark.usefixtures("toys")
def test_a_budget_of_runs_spreads_them_over_the_cells(tmp_path: Path) -> None:
    plan = run(tmp_path, Limits(runs=5))
    assert [len(entry.records) for entry in entries(plan, tmp_path)] == [1, 1, 1, 1, 1]
    findings = find("toys", entries(plan, tmp_path), "lora")
    assert any("missing" in remark for remark in findings.remarks)


@pytest.mark.usefixtures("toys")
def test_methods_meet_budgets(tmp_path: Path) -> None:
    methods = [LORA, {"method": "bitfit", "budgets": False}]
    plan = run(tmp_path, methods=methods, budgets=[27, 54], seeds=1, control=False)
    cells = {cell.contender: cell for cell in plan.cells}
    # Rank 1 has 8 + 8 + 8 + 3 parameters.
    assert cells["lora @ 27"].settings["rank"] == 1
    assert cells["lora @ 54"].settings["rank"] == 2
    assert cells["lora @ 54"].parameters == 54
    assert cells["bitfit"].wanted is None


@pytest.mark.usefixtures("toys")
def test_a_method_is_tried_on_its_tasks_alone(tmp_path: Path) -> None:
    methods = [LORA, {"method": "bitfit", "tasks": ["toy"]}]
    plan = run(tmp_path, tasks=["toy", "toy-slow"], methods=methods, seeds=1, recipe={"steps": 2})
    tried = {(cell.contender, cell.task) for cell in plan.cells if cell.kind == "method"}
    assert tried == {("lora", "toy"), ("bitfit", "toy"), ("lora", "toy-slow")}
    assert not any("bitfit" in told for told in plan.refused)


@pytest.mark.usefixtures("toys")
def test_an_impossible_budget_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"81|size 3"):
        run(tmp_path, methods=[LORA], budgets=[100_000], control=False)
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"tasks": ["toyy"]}, UnknownNameError, 'did you mean "toy'),
        ({"methods": ["lorra"]}, UnknownNameError, 'did you mean "lora"'),
        ({"models": ["no-such-model"]}, UnknownNameError, "no-such-model"),
        ({"methods": [{"method": "lora", "settings": {"rnak": 2}}]}, ConfigError, 'did you mean "rank"'),
        ({"recipe": {"steps": -1}}, ConfigError, "steps"),
        ({"methods": [LORA | {"learning_rate": {"digits": 0.1}}]}, ConfigError, "no task of the suite"),
        ({"methods": [{"method": "prefix"}], "control": False}, PlanError, "prefix"),
    ],
)
@pytest.mark.usefixtures("toys")
def test_what_cannot_be_is_refused_before_anything_is_run(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(tmp_path, **changes)
    assert not list(tmp_path.glob("runs/*"))
    assert not list(tmp_path.glob("suites/*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"taks": []}, 'unknown setting "taks": did you mean "tasks"'),
        ({"seeds": 0}, "seeds is 0"),
        ({"tasks": []}, "tasks"),
        ({"methods": [LORA, LORA]}, "one label"),
        ({"baseline": "lroa"}, 'did you mean "lora"'),
        ({"tuning": {"trails": 3}}, 'did you mean "trials"'),
        ({"tasks": ["toy", "toy"]}, "stands twice"),
        ({"methods": [LORA, {"method": "bitfit", "tasks": ["toyy"]}]}, 'did you mean "toy"'),
        ({"methods": [LORA | {"tasks": ["toy"]}]}, "runs on every task"),
    ],
)
def test_a_wrong_suite_says_where_and_how(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        suite(**changes)


@pytest.mark.usefixtures("toys")
def test_failed_runs_are_kept_and_told_of(tmp_path: Path) -> None:
    plan = run(tmp_path, methods=[LORA, {"method": "full", "label": "too fast", "learning_rate": 1e38}], control=False)
    entry = next(each for each in entries(plan, tmp_path) if each.contender == "too fast")
    assert [record.status for record in entry.records] == ["diverged"] * 3
    findings, folder = report_plan(plan, tmp_path, None)
    row = next(each for each in findings.rows if each.entry.contender == "too fast")
    assert row.failures == 3
    assert row.score is None
    assert "The training loss was" in (folder / "report.html").read_text()


@pytest.mark.usefixtures("toys")
def test_failed_runs_are_done_once_more_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> None:
        raise RuntimeError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(ToyTask, "examination", fails)
        plan = run(tmp_path, control=False)
    failed = {record.id for record in RunStore(tmp_path).records() if record.status == "failed"}
    assert len(failed) == 4 * 3
    run(tmp_path, control=False)
    assert {record.status for entry in entries(plan, tmp_path) for record in entry.records} == {"failed"}
    run_suite(plan.suite, "toys", tmp_path, lambda: Here(1), Limits(), retry=True)
    assert {record.status for entry in entries(plan, tmp_path) for record in entry.records} == {"finished"}
    assert set(RunStore(tmp_path).ids()) == failed


@pytest.mark.usefixtures("toys")
def test_times_are_measured_in_turn(tmp_path: Path) -> None:
    plan = run(tmp_path, timing=2, seeds=1)
    timings = {entry.contender: entry.timing for entry in entries(plan, tmp_path)}
    lora = timings["lora"]
    assert lora["step"]["median"] > 0
    assert lora["merged"]["median"] > 0
    # A forward pass is two products; the loss's gradient is one more for each, but for the first input's.
    assert lora["flops_forward"] > timings["full"]["flops_forward"] == 2 * 16 * (8 * 8 + 8 * 3)
    assert "no_merge" in timings["bitfit"] or timings["bitfit"]["merged"]


@pytest.mark.usefixtures("toys")
def test_who_cannot_be_timed_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = timing._stand

    def fails_for_bitfit(cell: Cell) -> Any:
        if cell.method == "bitfit":
            raise RuntimeError("no\nroom")
        return stand(cell)

    monkeypatch.setattr(timing, "_stand", fails_for_bitfit)
    plan = run(tmp_path, timing=1, seeds=1)
    timings = {entry.contender: entry.timing for entry in entries(plan, tmp_path)}
    assert timings["bitfit"]["failed"] == "RuntimeError: no room"
    assert timings["lora"]["step"]["median"] > 0
    assert timings["lora"]["flops_step"] > 0


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "inarch", "bench", *words, "--store", str(folder / "store")]


def environment() -> dict[str, str]:
    paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"INARCH_PLUGINS": "toy_comparison", "PYTHONPATH": paths}


@pytest.mark.thorough
def test_a_killed_session_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "slow.yaml"
    content = CONTENT | {"name": "slow", "tasks": ["toy-slow"], "tuning": {"trials": 3}, "seeds": 4, "control": False}
    file.write_text(yaml.safe_dump(content))
    wanted = 3 * (3 + 4) + 4
    seen: dict[str, int] = {}
    dice = random.Random(0)
    for _ in range(2):
        process = subprocess.Popen(
            command(tmp_path, "run", str(file), "--workers", "2"),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        goal = len(seen) + 2 + dice.randrange(5)
        deadline = time.monotonic() + 120
        while len(_written(tmp_path)) < goal and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = _written(tmp_path)
        assert len(now) >= goal
        assert seen.items() <= now.items()  # nothing was computed again
        seen = now
    finished = subprocess.run(
        command(tmp_path, "run", str(file), "--workers", "2", "--json"), env=environment(), capture_output=True
    )
    assert finished.returncode == 0, finished.stderr
    assert seen.items() <= _written(tmp_path).items()
    assert len(_written(tmp_path)) == wanted
    plan = kept_plan("slow", tmp_path / "store")
    assert all(len(entry.finished) == 4 for entry in entries(plan, tmp_path / "store"))
    assert json.loads(finished.stdout)["suite"] == "slow"


def _written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "store").glob("runs/??/[!.]*.json")}


@pytest.mark.usefixtures("toys")
def test_records_survive_their_file(tmp_path: Path) -> None:
    run(tmp_path, seeds=1)
    records = list(RunStore(tmp_path).records())
    assert len(records) == 5
    for record in records:
        assert RunRecord.model_validate_json(RunStore(tmp_path).path(record.id).read_text()) == record
