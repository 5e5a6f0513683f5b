"""Bring along what a GPU machine without network lacks: ``python -m inarch_benchmarks.gpu.prepare``.

Downloads wheels for Python 3.12 on x86-64 Linux into ``.wheels/``, which git ignores, leaves out of them what is of no
use there, and prints the command to run on the GPU machine. Wheels that are there already are not downloaded again.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from inarch.errors import InarchError

ROOT = Path(__file__).parent.parent.parent
LARGEST = 64 * 2**20
"""Bytes that all wheels may have together, less what the repository itself takes."""

RESERVED = 8 * 2**20
"""Bytes left for the repository, which travels with them."""

PYTHON = "3.12"
PLATFORMS = tuple(f"manylinux{version}_x86_64" for version in ("_2_28", "_2_27", "_2_24", "_2_17", "2014", "1"))

OURS = ("pydantic==2.14.3", "pydantic_core==2.50.4", "annotated-types", "typing-inspection", "typing_extensions>=4.16",
        "setuptools>=77")  # fmt: skip
"""What Inarch needs beside torch, transformers, peft and accelerate, which a GPU machine is taken to have."""

DATA = ("datasets>=4.7,<5", "dill==0.4.1", "multiprocess==0.70.19")
"""Both need them: Inarch any from 4.0 on, Unsloth and trl those from 4.7 on and below 5."""

CONTENDERS = ("bitsandbytes==0.50.2", "liger-kernel==0.8.5")

UNSLOTH = (
    "unsloth==2026.10.9",
    "unsloth_zoo==2026.10.9",
    "trl==1.15.0",
    "torchao==0.18.0",
    "xformers==0.0.35",
    "cut_cross_entropy==25.1.1",
    "tyro==1.0.17",
    "docstring_parser",
    "typeguard",
    "hf_transfer",
    "msgspec",
    "nest-asyncio",
    "json5",
    "structlog",
)
"""trl 1.15.0 and transformers 5.17 are the newest that this Unsloth says it takes."""

LEFT_OUT = {
    "bitsandbytes": ("bitsandbytes/libbitsandbytes_cuda1[12]*", "bitsandbytes/libbitsandbytes_rocm*",
                     "bitsandbytes/libbitsandbytes_xpu*"),
    "unsloth": ("studio/*",),
}  # fmt: skip
"""By package, the files that are of no use there: other devices' libraries, and a graphical interface."""


def download(requirement: str, folder: Path) -> Path:
    """The wheel of one requirement, alone."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", *platforms, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InarchError(f"pip could not download {requirement}: {done.stderr.strip().splitlines()[-1]}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def strip(wheel: Path, target: Path, left_out: tuple[str, ...]) -> None:
    """Copy a wheel without some of its files; what its record says of them stays, and pip does not mind."""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as copy:
        for entry in source.infolist():
            if not any(fnmatch(entry.filename, pattern) for pattern in left_out):
                copy.writestr(entry, source.read(entry), compress_type=zipfile.ZIP_DEFLATED)


def package(wheel: Path) -> str:
    """The package's name, as wheels write it."""
    return wheel.name.partition("-")[0].lower()


def bring(requirements: tuple[str, ...], folder: Path) -> list[Path]:
    """The wheels of ``requirements`` in ``folder``, downloaded where they are not there."""
    folder.mkdir(exist_ok=True)
    there = {package(wheel): wheel for wheel in folder.glob("*.whl")}
    wheels = []
    for requirement in requirements:
        name = _name(requirement)
        if name not in there:
            with tempfile.TemporaryDirectory() as scratch:
                wheel = download(requirement, Path(scratch))
                strip(wheel, folder / wheel.name, LEFT_OUT.get(name, ()))
                there[name] = folder / wheel.name
        wheels.append(there[name])
    return wheels


def _name(requirement: str) -> str:
    """The package that a requirement names, as wheels write it."""
    name = requirement
    for sign in "=<>!~":
        name = name.partition(sign)[0]
    return name.strip().lower().replace("-", "_")


def main() -> None:
    """Download, check the size and say what to run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".wheels", help="where the wheels go")
    parser.add_argument("--without-unsloth", action="store_true", help="leave out Unsloth and what it needs")
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    wheels = bring(OURS + DATA + CONTENDERS + (() if options.without_unsloth else UNSLOTH), options.folder)
    sizes = {wheel.name: wheel.stat().st_size for wheel in wheels}
    for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        console.print(f"{size / 2**20:6.2f} MiB  {name}")
    total = sum(sizes.values())
    console.print(f"{total / 2**20:6.2f} MiB  in all, of {(LARGEST - RESERVED) / 2**20:.0f}")
    if total > LARGEST - RESERVED:
        raise SystemExit("The wheels are too large to be brought along: leave out Unsloth with --without-unsloth.")
    console.print(
        "\nOn the GPU machine, in the root of this tree with .wheels/ in it:\n"
        "  sh benchmarks/gpu/run.sh correctness training memory features decoding --output FOLDER --budget 1700"
    )


if __name__ == "__main__":
    main()
