"""The house: what lies where, and that no file grows beyond reading."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"inarch": "src", "inarch_plugins": "plugins", "inarch_benchmarks": "benchmarks"}


def test_the_repository_has_its_parts() -> None:
    for name in (
        "pyproject.toml", "setup.py", "README.md", "CHANGELOG.md", "Makefile", "LICENSE", "constraints.txt",
        ".ci/run", "src/adapters", "src/registry", "plugins", "benchmarks", "tests",
    ):  # fmt: skip
        assert (ROOT / name).exists(), name
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_imported_from_their_folders(package: str) -> None:
    assert Path(importlib.import_module(package).__file__ or "").parent == ROOT / PACKAGES[package]


@pytest.mark.parametrize("folder", [*PACKAGES.values(), "tests"])
def test_files_are_short_and_documented(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        if folder != "tests":
            assert text.startswith('"""'), path


def test_every_constraint_is_an_exact_pin() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert all("==" in line for line in lines)
