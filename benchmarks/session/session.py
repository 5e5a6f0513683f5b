"""A session: every run that a suite still lacks, computed by an executor."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from inarch_benchmarks.comparison.catalogue import work_of
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.priority import in_order
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.comparison.resolve import check, models, resolve
from inarch_benchmarks.comparison.specification import RunSpecification
from inarch_benchmarks.comparison.store import RunStore
from inarch_benchmarks.comparison.suite import Suite
from inarch_benchmarks.executors.executor import Executor, WorkerLost
from inarch_benchmarks.session.cell_work import CellWork
from inarch_benchmarks.session.jobs import compute_run, lost, prepare_base
from inarch_benchmarks.session.limits import Limits
from inarch_benchmarks.session.plan import Plan, keep_plan
from inarch_benchmarks.session.timings import keep_timings, missing_timings, time_place
from inarch_benchmarks.tuning.journal import open_journal

Progress = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and how much there is."""


def run_suite(
    suite: Suite,
    source: str,
    folder: Path,
    make_executor: Callable[[], Executor],
    limits: Limits,
    progress: Progress = lambda stage, done, total: None,
    *,
    retry: bool = False,
) -> Plan:
    """Compute what a suite lacks.

    A session that is killed at any moment is gone on with by the next: what the store has is not computed again.

    Args:
        suite: What is compared.
        source: What the suite was called on the command line.
        folder: The store.
        make_executor: Computes the runs.
        limits: How much may be run.
        progress: Told how far it is.
        retry: Whether test runs that failed are done once more.

    Raises:
        ConfigError: A suite that cannot be; nothing was written.
        StoreError: The store cannot be written, or another session works on it.
    """
    check(suite)
    store = RunStore(folder)
    with store.locked(), make_executor() as executor:
        bases = prepare_bases(suite, executor, progress)
        resolved = resolve(suite, bases)
        plan = Plan(suite=suite, source=source, cells=resolved.cells, refused=resolved.refused)
        keep_plan(plan, folder)
        _Session(plan, store, executor, limits, progress, retry).run()
        _time(plan, folder, executor, limits, progress)
    return plan


def prepare_bases(suite: Suite, executor: Executor, progress: Progress) -> dict[str, Base]:
    """The suite's base models, several of them made at a time."""
    work = {name: work_of(name) for name in models(suite)}
    total, done = sum(work.values()), 0
    progress("base models", done, total)
    names = {executor.submit(prepare_base, name): name for name in sorted(work, key=work.__getitem__, reverse=True)}
    bases = {}
    pending: set[Future[Any]] = set(names)
    while pending:
        ready, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in ready:
            bases[names[future]] = Base(**future.result())
            done += work[names[future]]
            progress("base models", done, total)
    return bases


def works(plan: Plan, store: RunStore, *, retry: bool = False) -> list[CellWork]:
    """The work of every cell of a plan."""
    journal = open_journal(store.folder / "tuning.log") if any(cell.search for cell in plan.cells) else None
    return [CellWork(cell, plan.suite, store, journal, retry=retry) for cell in plan.cells]


class _Session:
    """The loop: as long as there are runs, the most wanted of them are computed."""

    def __init__(
        self, plan: Plan, store: RunStore, executor: Executor, limits: Limits, progress: Progress, retry: bool
    ) -> None:
        self._suite = plan.suite
        self._store = store
        self._executor = executor
        self._limits = limits
        self._progress = progress
        self._retry = retry
        self._works = works(plan, store, retry=retry)
        self._running: dict[Future[dict[str, Any]], tuple[RunSpecification, CellWork]] = {}

    def run(self) -> None:
        """Compute everything, or as much as the limits allow."""
        self._tell()
        while True:
            self._fill()
            if not self._running:
                return
            ready, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in ready:
                specification, work = self._running.pop(future)
                self._keep(self._record(future, specification), work)
            self._tell()

    def _fill(self) -> None:
        """Give every worker a run."""
        begun = {specification.id for specification, _ in self._running.values()}
        for specification, work in self._wanted() if len(self._running) < self._executor.workers else ():
            if len(self._running) == self._executor.workers or not self._limits.allow():
                return
            if specification.id not in begun:
                self._limits.begun += 1
                begun.add(specification.id)
                future = self._executor.submit(
                    compute_run, specification.model_dump(mode="json"), work.cell.place, str(self._store.folder)
                )
                self._running[future] = specification, work

    def _wanted(self) -> list[tuple[RunSpecification, CellWork]]:
        """What can be run now, the most wanted first: tuning, which tests wait for, then tests."""
        tuning = [(run, work) for work in self._works for run in work.tuning_runs()]
        standings = [work.standing() for work in self._works]
        by_cell = {(each.contender, each.place): work for each, work in zip(standings, self._works, strict=True)}
        affordable = self._limits.affordable(self._executor.workers)
        order = in_order(standings, self._suite.baseline_label, affordable)
        tests = [(by_cell[each.contender, each.place], each.seed) for each in order]
        return tuning + [(work.test_run(seed), work) for work, seed in tests]

    def _record(self, future: "Future[dict[str, Any]]", specification: RunSpecification) -> RunRecord:
        try:
            return RunRecord.model_validate(future.result())
        except WorkerLost as error:
            return lost(specification, str(error))

    def _keep(self, record: RunRecord, work: CellWork) -> None:
        if self._retry or not self._store.has(record.id):
            self._store.put(record)
        for each in self._works if self._shared(work) else (work,):
            each.take(record)

    def _shared(self, work: CellWork) -> bool:
        """Whether another cell has the same runs, as one method under two labels has."""
        return sum(each.cell.key == work.cell.key for each in self._works) > 1

    def _tell(self) -> None:
        self._progress("runs", sum(work.done for work in self._works), sum(work.total for work in self._works))


def _time(plan: Plan, folder: Path, executor: Executor, limits: Limits, progress: Progress) -> None:
    """The timing pass, one place after the other and nothing beside it."""
    if not plan.suite.timing or not limits.allow():
        return
    missing = missing_timings(folder, list(plan.places().values()))
    progress("timing", 0, len(missing))
    for done, cells in enumerate(missing, start=1):
        dumped = [cell.model_dump(mode="json") for cell in cells]
        keep_timings(folder, executor.submit(time_place, dumped, plan.suite.timing).result())
        progress("timing", done, len(missing))
