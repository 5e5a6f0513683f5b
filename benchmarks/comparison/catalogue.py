"""The tasks, base models and executors that plugins have brought, by name."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from inarch import ModelError, UnknownNameError
from inarch.registry import registry
from inarch_benchmarks.comparison.model import Base, BenchmarkModel
from inarch_benchmarks.comparison.task import BenchmarkTask
from inarch_benchmarks.executors.executor import Executor


@cache
def task(name: str) -> BenchmarkTask:
    """The task of a name; one object a process.

    Raises:
        UnknownNameError: No plugin brings it.
    """
    registry().collect("register_benchmark_tasks", "benchmark task", BenchmarkTask)
    found: type[BenchmarkTask] = registry().item("benchmark task", name)
    return found()


@cache
def made_model(name: str) -> BenchmarkModel | None:
    """The base model of a name that a script of a plugin's makes; None for a folder or an id on the hub."""
    registry().collect("register_benchmark_models", "benchmark model", BenchmarkModel)
    try:
        found: type[BenchmarkModel] = registry().item("benchmark model", name)
    except UnknownNameError:
        if "/" not in name and not Path(name).exists():
            raise
        return None
    return found()


def executor(name: str) -> type[Executor]:
    """The executor of a name.

    Raises:
        UnknownNameError: No plugin brings it.
    """
    registry().collect("register_executors", "executor", Executor)
    found: type[Executor] = registry().item("executor", name)
    return found


def work_of(name: str) -> int:
    """How long making a base takes, in its own unit; 1 for one that is only found."""
    made = made_model(name)
    return made.work if made else 1


def prepare(name: str, on_step: Callable[[int], None]) -> Base:
    """The base of a name, ready to be loaded.

    Raises:
        ModelError: There is no such folder, and no such model on the hub.
    """
    made = made_model(name)
    if made is not None:
        return made.prepare(on_step)
    base = Base(name, name, _fingerprint(name))
    on_step(1)
    return base


def _fingerprint(place: str) -> str:
    """The commit of a model on the hub, or the SHA-256 of a folder's weights."""
    from transformers import AutoConfig

    from inarch_benchmarks.embedded.cache import sha256_of_file

    folder = Path(place)
    if folder.is_dir():
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ModelError(f"{place} holds no .safetensors file. Save the model there with save_pretrained.")
        return "-".join(sha256_of_file(file)[:16] for file in files)
    try:
        return str(AutoConfig.from_pretrained(place)._commit_hash)
    except OSError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise ModelError(f'The base model "{place}" cannot be had: {reason}') from error
