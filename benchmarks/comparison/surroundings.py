"""What a run was made with: software, hardware, revision of the code."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    "inarch",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "tokenizers",
    "datasets",
    "numpy",
    "scikit-learn",
    "rouge-score",
    "lm_eval",
)


@cache
def software() -> dict[str, str | None]:
    """Versions of Python and of what a result stands on; None where not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in DISTRIBUTIONS}}


@cache
def hardware() -> dict[str, Any]:
    """Processor, cores that may be used, memory in bytes, device."""
    import torch

    return {
        "processor": _processor(),
        "machine": platform.machine(),
        "cores": processors(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


@cache
def revision() -> str:
    """The commit that the code was at, with ``+`` where files were changed; empty outside a repository."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", "..")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
