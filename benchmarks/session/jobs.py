"""What workers compute: bases, runs. Arguments and results are JSON types, for executors on other machines."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from inarch_benchmarks.comparison import surroundings
from inarch_benchmarks.comparison.catalogue import prepare
from inarch_benchmarks.comparison.files import StoreError
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.quiet import quiet_transformers
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.comparison.run import perform
from inarch_benchmarks.comparison.specification import RunSpecification
from inarch_benchmarks.comparison.store import RunStore
from inarch_benchmarks.comparison.unfinished import Unfinished


def prepare_base(name: str) -> dict[str, str]:
    """A base, made or found."""
    with quiet_transformers():  # its advice would break the bar
        return asdict(prepare(name, lambda work: None))


def compute_run(specification: Mapping[str, Any], place: str, store: str) -> dict[str, Any]:
    """The record of a run.

    The worker writes it into the store where it reaches it: a run whose session was killed meanwhile is not lost. A
    long run that is killed itself goes on where it was, by its checkpoints in the store.
    """
    wanted = RunSpecification.model_validate(specification)
    runs = RunStore(store)
    unfinished = Unfinished(runs.unfinished / wanted.id)
    with quiet_transformers():
        record = perform(wanted, Base(wanted.model, place, wanted.weights), unfinished)
    with suppress(StoreError):  # the session will put it, or say why it cannot
        runs.put(record)
        unfinished.forget()
    return record.model_dump(mode="json")


def lost(specification: RunSpecification, reason: str) -> RunRecord:
    """The record of a run whose worker died in every attempt."""
    return RunRecord(
        id=specification.id,
        specification=specification,
        status="failed",
        reason=reason,
        software=surroundings.software(),
        hardware=surroundings.hardware(),
        revision=surroundings.revision(),
        date=surroundings.now(),
    )
