"""The package as a stranger meets it: built, installed beside others, and extended by a package of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HELD = ("torch", "transformers", "peft")


def run(*command: str | Path, **options: object) -> str:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stdout + result.stderr
    return str(result.stdout)


def built(source: Path, folder: Path) -> Path:
    """A wheel of ``source``, built from a copy so that the repository stays clean."""
    copy = folder / "source"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "tests", "inarch-demo")
    shutil.copytree(source, copy, ignore=ignored)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, copy)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_packages_and_nothing_named_adapters(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"inarch", "inarch_plugins", "inarch_benchmarks"}
    needed = ("py.typed", "adapters/plan.py", "cli/main.py", "testing/new-method/inarch_new_method.py")
    assert {f"inarch/{name}" for name in needed} | {"inarch_plugins/lora/method.py"} <= set(names)


def test_installing_moves_nothing_that_is_there(wheel: Path) -> None:
    """pip resolves the wheel into this environment, which holds torch, transformers and peft, and would touch no other."""
    said = run(
        sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--force-reinstall", "--no-deps", wheel
    )
    assert re.search(r"Would install inarch-\S+$", said, re.MULTILINE)
    said = run(
        sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--upgrade", "--report", "-", "-q", wheel
    )
    planned = {item["metadata"]["name"].lower() for item in json.loads(said)["install"]}
    assert planned <= {"inarch"}


def test_requirements_are_loose_lower_bounds() -> None:
    for requirement in requires("inarch") or []:
        if "extra ==" in requirement:
            continue
        assert re.fullmatch(r"[A-Za-z0-9_-]+>=[\d.]+", requirement), requirement
    assert {name for name in HELD if any(r.startswith(name) for r in requires("inarch") or [])} == set(HELD)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary environment that sees what is installed here, with the stranger's package installed into it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    here = sysconfig.get_paths()["purelib"]
    there = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip()
    Path(there, "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    package = built(ROOT / "tests" / "out_of_tree", folder)
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", package)
    return python


def inarch(environment: Path, *words: str | Path, **options: object) -> str:
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return run(environment, "-m", "inarch", *words, env=quiet, **options)


def test_a_stranger_s_method_is_listed(environment: Path) -> None:
    methods = {method["name"]: method for method in json.loads(inarch(environment, "methods", "--json"))}
    assert methods["gain"]["distribution"] == "inarch-gain"
    assert methods["gain"]["settings"] == {"targets": ["@linear"], "start": 1.0}
    plugins = {plugin["name"]: plugin for plugin in json.loads(inarch(environment, "plugins", "--json"))}
    assert plugins["gain"]["provides"] == ["method gain"]


@pytest.mark.thorough
def test_a_stranger_s_method_trains_by_name(environment: Path, config_file: Callable[..., Path]) -> None:
    path = config_file(method__name="gain", method__rank=None, method__dropout=None, training__max_steps=2)
    trained = json.loads(inarch(environment, "train", path, "--json"))
    record = json.loads((Path(trained["run"]) / "adapter" / "adapter_config.json").read_text())["inarch"]
    assert (record["method"], record["distribution"], record["version"]) == ("gain", "inarch-gain", "0.3")
    assert json.loads(inarch(environment, "eval", trained["run"], "--json"))["reproduced"]
    # Here, where the package is not installed, the same checkpoint says what to install.
    refused = subprocess.run(
        [sys.executable, "-m", "inarch", "eval", trained["run"]], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "pip install inarch-gain==0.3" in refused.stderr
    assert "Traceback" not in refused.stderr
