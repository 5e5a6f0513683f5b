"""The page about comparisons is run as a reader would run it, but base and runs are trained for two steps."""

import re
import shlex
from pathlib import Path

import pytest

from inarch.cli.main import main
from inarch_benchmarks.comparison import catalogue
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.suite import Suite, shipped_suites
from inarch_benchmarks.embedded.models.glyph_vit import GlyphViT
from inarch_benchmarks.embedded.tasks.digits import DigitsTask
from inarch_benchmarks.executors.here import Here

from small_bases import SmallGlyphViT

PAGE = Path(__file__).parent.parent / "docs" / "comparing-methods.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.thorough
def test_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(GlyphViT, "pretraining", SmallGlyphViT.pretraining)
    monkeypatch.setattr(DigitsTask, "recipe", DigitsTask.recipe.model_copy(update={"steps": 2}))
    monkeypatch.setattr(catalogue, "executor", lambda name: lambda count: Here())
    monkeypatch.chdir(tmp_path)
    for language, block in BLOCKS:
        if language == "yaml":
            (tmp_path / block.split("\n", 1)[0].removeprefix("# ")).write_text(block)
        else:
            for line in block.splitlines():
                name, *words = shlex.split(line)
                assert name == "inarch"
                assert main(words) == 0, (line, capsys.readouterr())
    assert (tmp_path / "inarch-bench" / "reports" / "mine" / "report.html").exists()
    assert (tmp_path / "runs.csv").exists()


def test_every_key_of_a_suite_is_told_of() -> None:
    table = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    told = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    assert told == set(Suite.model_fields) - {"name", "about", "notes", "methods", "reference_rates"}
    (recipe,) = (line for line in TEXT.splitlines() if line.startswith("| `recipe`"))
    assert set(re.findall(r"`(\w+)`", recipe)) - {"recipe"} == set(Recipe.model_fields)


def test_the_suites_that_it_names_are_shipped() -> None:
    assert set(re.findall(r"^- `([\w-]+)`", TEXT, re.MULTILINE)) <= set(shipped_suites())


def test_what_it_points_to_is_there() -> None:
    for folder in re.findall(r"`(benchmarks/[\w/]+/)`", TEXT):
        assert (PAGE.parent.parent / folder).is_dir(), folder
