import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from inarch.cli.main import main
from inarch_benchmarks.embedded.comparison import Row
from inarch_benchmarks.embedded.contenders import CONTENDERS


@dataclass(frozen=True)
class Demo:
    output: Path
    printed: str
    progress: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    printed, progress = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(progress):
        patch.setenv("INARCH_CACHE", str(folder / "cache"))
        patch.setenv("COLUMNS", "200")
        assert main(["demo", "--quick", "--seeds", "2", "--output", str(folder / "out")]) == 0
        yield Demo(folder / "out", printed.getvalue(), progress.getvalue())


def test_prints_a_row_for_every_contender(demo: Demo) -> None:
    lines = demo.printed.splitlines()
    assert all(any(line.startswith(contender.name) for line in lines) for contender in CONTENDERS)
    assert "none of these figures means anything" in demo.printed
    assert "pretrained now" in demo.printed
    assert "has the same accuracy" in demo.printed


def test_says_what_it_does_on_standard_error(demo: Demo) -> None:
    assert "100 labelled handwritten digits" in demo.progress
    assert demo.progress.count("pretraining ...") == demo.progress.count("adapting ...") == 1


def test_writes_its_files(demo: Demo) -> None:
    found = {str(path.relative_to(demo.output)) for path in demo.output.rglob("*") if path.is_file()}
    adapter = {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    assert found == {"demo.json", "accuracy.png", *adapter}


def test_the_figures_are_complete(demo: Demo) -> None:
    figures = json.loads((demo.output / "demo.json").read_text())
    assert figures["quick"] is True
    assert figures["seeds"] == [0, 1]
    assert [Row(**row).contender for row in figures["rows"]] == [contender.name for contender in CONTENDERS]
    assert [run["seed"] for run in figures["runs"]] == [0, 1] * len(CONTENDERS)
    assert figures["reload"]["after"] == figures["reload"]["before"]
    assert figures["reload"]["bytes"] < figures["base"]["bytes"]
    assert len(figures["base"]["fingerprint"]) == 64
    assert {"verdict", "claims_not_shown", "steps", "seconds", "date", "processors", "workers"} <= figures.keys()
    assert {"python", "torch", "transformers", "inarch"} <= figures["versions"].keys()


def test_json_stands_alone_and_the_base_is_reused(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--quick", "--seeds", "1", "--json", "--output", str(demo.output)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((demo.output / "demo.json").read_text())
    assert figures["base"]["origin"] == "cached"


@pytest.mark.parametrize("seeds", ["0", "11"])
def test_too_few_or_too_many_seeds(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seeds", seeds]) == 2
    assert f"--seeds is {seeds}: it must be from 1 to 10." in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--output", str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert "cannot be written to" in said
    assert "--output" in said
    assert "pretraining" not in said


def test_a_cache_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "file"))
    assert main(["demo", "--output", str(tmp_path / "out")]) == 2
    assert "INARCH_CACHE" in capsys.readouterr().err
