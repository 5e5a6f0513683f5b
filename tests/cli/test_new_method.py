"""``inarch new-method``: what it writes is installed, found, checked and used."""

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import inarch
from inarch.cli.main import main
from inarch.testing import LAWS, check

NAME = "gated-low-rank"
FILES = {"README.md", "inarch_gated_low_rank.py", "pyproject.toml", "test_inarch_gated_low_rank.py"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert main(["new-method", NAME, "--output", str(tmp_path)]) == 0
    return tmp_path / f"inarch-{NAME}"


def run(*command: str | Path, cwd: Path, site: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    result = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_writes_a_small_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-method", NAME, "--output", str(tmp_path)]) == 0
    folder = tmp_path / f"inarch-{NAME}"
    said = capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == FILES
    assert all(name in said for name in FILES)
    assert f"inarch check {NAME}" in said
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["inarch"] == {NAME: "inarch_gated_low_rank"}
    for path in folder.iterdir():
        text = path.read_text().lower().replace("_", "-")
        assert "new-method" not in text, path
        assert "newmethod" not in text, path
    assert len((folder / "inarch_gated_low_rank.py").read_text().splitlines()) < 80


def test_the_method_it_writes_keeps_the_laws(folder: Path) -> None:
    """On every model; law 8, which takes longest, is held below where the package is installed."""
    specification = importlib.util.spec_from_file_location("inarch_gated_low_rank", folder / "inarch_gated_low_rank.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    result = check(module.GatedLowRank(), laws=[law.number for law in LAWS if law.number != 8])
    assert {finding.outcome.value for finding in result.findings} == {"held"}, str(result)


@pytest.mark.thorough
def test_the_package_is_installed_checked_and_used(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    run("pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", site, folder,
        cwd=tmp_path, site=site)  # fmt: skip
    found = json.loads(run("inarch", "check", NAME, "--model", "llama", "--json", cwd=tmp_path, site=site))
    assert found["holds"]
    assert [finding["outcome"] for finding in found["findings"]] == ["held"] * len(LAWS)
    (tmp_path / "use.py").write_text(
        "import inarch, pytest\n"
        "from inarch.testing import FAMILIES\n"
        f"inarch.attach(FAMILIES['llama'].model(), '{NAME}', rank=2).save('saved')\n"
        "print(inarch.load(FAMILIES['llama'].model(), 'saved'))\n"
        f"raise SystemExit(pytest.main(['-q', '-k', 'starts-from-the-base-llama', {str(folder)!r}]))\n"
    )
    said = run("use", cwd=tmp_path, site=site)
    assert f"{NAME} at 14 sites" in said
    assert "1 passed" in said
    record = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())["inarch"]
    assert (record["distribution"], record["version"]) == (f"inarch-{NAME}", "0.1.0")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-method", NAME, "--output", str(tmp_path / "deep" / "er"), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert set(written["files"]) == FILES
    assert {path.name for path in Path(written["folder"]).iterdir()} == FILES


@pytest.mark.parametrize(
    "name", ["Gated", "gated_low_rank", "-gated", "gated-", "2d", "ga ted", "../gated", "", "none"]
)
def test_a_bad_name_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-method", "--output", str(tmp_path), "--", name]) == 2
    assert f'"{name}" cannot name a method' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-method", "lora", "--output", str(tmp_path)]) == 2
    assert "lora" in inarch.methods()
    assert capsys.readouterr().err == 'inarch: error: There is a method "lora" of inarch: choose another.\n'


def test_an_existing_folder_is_left_alone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "README.md").write_text("mine")
    assert main(["new-method", NAME, "--output", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["new-method", NAME, "--output", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
