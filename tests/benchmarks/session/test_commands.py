"""``inarch bench`` as it is typed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from inarch.cli.main import main
from inarch_benchmarks.comparison.contender import contenders
from inarch_benchmarks.comparison.resolve import check
from inarch_benchmarks.comparison.suite import read_suite, shipped_suites

pytestmark = pytest.mark.usefixtures("toys")

CONTENT: dict[str, Any] = {
    "name": "toys",
    "about": "Three methods.",
    "tasks": ["toy"],
    "methods": [
        {"method": "lora", "label": "lora", "settings": {"targets": ["first", "second"], "rank": 2}},
        {"method": "bitfit", "learning_rate": 0.01},
    ],
    "seeds": 3,
    "control": False,
    "timing": 1,
}


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "toys.yaml"
    path.write_text(yaml.safe_dump(CONTENT))
    return str(path)


def bench(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["bench", *words]) == 0
    return capsys.readouterr().out


def test_from_a_suite_to_a_report(tmp_path: Path, suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "store")]
    found = json.loads(bench(capsys, "run", suite, "--engine", "here", "--json", *store))
    assert {row["contender"] for row in found["rows"]} == {"full", "zero-shot", "lora", "bitfit"}

    page = (tmp_path / "store" / "reports" / "toys" / "report.html").read_text()
    assert f"inarch bench run {suite}" in page

    status = json.loads(bench(capsys, "status", suite, "--json", *store))
    assert [cell["missing"] for cell in status["cells"]] == [0, 0, 0, 0]
    assert "12 of 12 runs are done" in bench(capsys, "status", suite, *store)

    assert "report.html" in bench(capsys, "report", suite, "--output", str(tmp_path / "out"), *store)
    assert (tmp_path / "out" / "findings.json").exists()

    (difference,) = json.loads(bench(capsys, "compare", "lora", "bitfit", "--suite", suite, "--json", *store))
    assert (difference["one"], difference["other"], difference["task"]) == ("lora", "bitfit", "toy")
    assert difference["verdict"] in bench(capsys, "compare", "lora", "bitfit", "--suite", suite, *store)

    assert "12 runs" in bench(capsys, "export", str(tmp_path / "runs.csv"), *store)
    assert json.loads(bench(capsys, "export", str(tmp_path / "runs.csv"), "--json", *store))["runs"] == 12
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 1 + 12


def test_a_damaged_record_is_told_of_in_one_line(
    tmp_path: Path, suite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "store")]
    bench(capsys, "run", suite, "--engine", "here", "--runs", "2", *store)
    damaged, *_ = sorted((tmp_path / "store" / "runs").glob("*/*.json"))
    damaged.write_text("{")
    assert main(["bench", "report", suite, *store]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert line.startswith(f"inarch: warning: {damaged} is damaged, it is now {damaged.name}.damaged")


def test_a_query_is_answered(tmp_path: Path, suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "store")]
    bench(capsys, "run", suite, "--engine", "here", "--runs", "2", "--json", *store)
    sql = "select status, count(*) as runs from runs group by status"
    assert json.loads(bench(capsys, "query", sql, "--json", *store)) == [{"status": "finished", "runs": 2}]


def test_every_shipped_suite_is_listed_and_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {suite["name"] for suite in json.loads(bench(capsys, "suites", "--json"))}
    assert listed == set(shipped_suites()) >= {"quick", "standard", "all-methods"}
    for name in listed:
        check(read_suite(name))


def test_quick_is_eight_methods_on_three_tasks_at_three_seeds() -> None:
    suite = read_suite("quick")
    methods = [each for each in contenders(suite) if each.label in {*suite.references} - {"zero-shot"}]
    assert len(methods) + len(suite.methods) == 8
    assert (len(suite.tasks), suite.seeds, suite.tuning) == (3, 3, None)


def test_standard_is_tuned_on_ten_seeds_with_a_control() -> None:
    suite = read_suite("standard")
    assert suite.seeds == 10
    assert suite.tuning is not None
    assert suite.control


def test_the_suite_of_all_methods_has_every_method_of_ours_and_a_dozen_of_the_bridge() -> None:
    import inarch

    suite = read_suite("all-methods")
    named = {entry.method for entry in suite.methods} | set(suite.references)
    assert {name for name in inarch.methods() if "/" not in name} <= named
    assert sum(name.startswith("peft/") for name in named) >= 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "quik"], 'did you mean "quick"'),
        (["run", "quick", "--engine", "rai"], 'did you mean "ray"'),
        (["status", "quick"], "inarch bench run quick"),
        (["report", "quick"], "inarch bench run quick"),
        (["export", "runs.txt"], ".parquet"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words, "--store", str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()
