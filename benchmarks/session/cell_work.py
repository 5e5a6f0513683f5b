"""The work of one cell: its tuning runs, then its test runs with what tuning has chosen."""

from collections.abc import Iterator
from statistics import fmean
from typing import Any, Literal

from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.comparison.cell import FIRST_TUNING_SEED, Cell
from inarch_benchmarks.comparison.priority import Standing
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.comparison.specification import RunSpecification
from inarch_benchmarks.comparison.store import RunStore
from inarch_benchmarks.comparison.suite import Suite
from inarch_benchmarks.session.timings import read_timing
from inarch_benchmarks.tuning.search import Proposal, Search
from inarch_benchmarks.tuning.space import Space


class CellWork:
    """What is done and what is to be done of one cell. Whatever the store has counts as done.

    Args:
        cell: The cell.
        suite: With its number of seeds and trials.
        store: Of the runs.
        journal: Of the tuning.
        retry: Whether test runs that failed are done once more.
    """

    def __init__(self, cell: Cell, suite: Suite, store: RunStore, journal: Any, *, retry: bool = False) -> None:
        self.cell = cell
        self._store = store
        self._retry = retry
        self._seeds = suite.seeds
        self._search: Search | None = None
        self._tuning_seeds: range = range(0)
        self._trials = 0
        if cell.search and suite.tuning is not None:
            space = Space(cell.search, suite.tuning.trials, start=cell.settings)
            self._search = Search(cell.key, space, journal)
            self._tuning_seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + suite.tuning.seeds)
            self._trials = suite.tuning.trials
        self._proposals: list[Proposal] = []
        self._specifications: dict[Any, RunSpecification] = {}  # making one takes a tenth of a millisecond, often
        self._open: list[RunSpecification] | None = None  # None where a record has come since they were worked out
        self._records: dict[str, RunRecord | None] = {}
        self._chosen: dict[str, Any] | None = {} if self._search is None else None

    @property
    def total(self) -> int:
        """How many runs there are in all."""
        return self._trials * len(self._tuning_seeds) + self._seeds

    @property
    def done(self) -> int:
        """How many of them are done; trials that were found unnecessary count as done."""
        if self._chosen is None:
            return sum(self._record(run) is not None for proposal in self._proposals for run in self._runs(proposal))
        return self._trials * len(self._tuning_seeds) + self._seeds - len(self.pending_seeds())

    def tuning_runs(self) -> list[RunSpecification]:
        """The tuning runs that can be made now; none when tuning is over."""
        if self._search is None or self._chosen is not None:
            return []
        if self._open is None:
            self._open = self._next_runs(self._search)
        return self._open

    @property
    def tuned(self) -> bool:
        """Whether tuning is over, or there is none."""
        return self._chosen is not None

    def test_run(self, seed: int) -> RunSpecification:
        """The test run of a seed; tuning is over."""
        assert self._chosen is not None
        return self._specification(seed, "test", self._chosen)

    def pending_seeds(self) -> tuple[int, ...]:
        """Seeds of test runs that are still to be made; none before tuning is over, or where every trial failed."""
        if not self._can_test:
            return ()
        return tuple(seed for seed in range(self._seeds) if self._record(self.test_run(seed)) is None)

    def take(self, record: RunRecord) -> None:
        """Take note of a record that was made."""
        self._records[record.id] = record
        self._open = None

    def standing(self) -> Standing:
        """How it stands, for the order of what is to be run."""
        records = self._test_records()
        scores = {
            each.specification.seed: each.test.metrics[self.cell.metric]
            for each in records
            if each.status == "finished" and each.test is not None
        }
        place = f"{self.cell.task} on {self.cell.model}"
        return Standing(self.cell.contender, place, self.cell.parameters, scores, self.pending_seeds())

    def entry(self) -> Entry:
        """The cell as the analysis takes it."""
        cell = self.cell
        self.tuning_runs()  # takes in what the store has
        return Entry(
            contender=cell.contender,
            method=cell.method,
            kind=cell.kind,
            task=cell.task,
            model=cell.model,
            metric=cell.metric,
            chance=cell.chance,
            budget=cell.wanted,
            tuned=self._search is not None,
            edge=self._search is not None and self.tuned and self._search.edge,
            trials=() if self._search is None else self._search.trials,
            records=tuple(self._test_records()),
            seeds=self._seeds,
            timing=read_timing(self._store.folder, cell),
        )

    @property
    def _can_test(self) -> bool:
        return self._chosen is not None and (self._search is None or bool(self._chosen))

    def _test_records(self) -> list[RunRecord]:
        if not self._can_test:
            return []
        records = (self._record(self.test_run(seed)) for seed in range(self._seeds))
        return [record for record in records if record is not None]

    def _next_runs(self, search: Search) -> list[RunSpecification]:
        """The runs of the trials that the search proposes, as soon as there are any that were not made yet."""
        while True:
            self._proposals += search.ask()
            self._tell()
            runs = [run for each in self._proposals for run in self._runs(each) if self._record(run) is None]
            if runs:
                return runs
            if search.done:
                self._chosen = search.best or {}
                return []

    def _tell(self) -> None:
        """Tell the search of every trial whose runs are all there."""
        assert self._search is not None
        for proposal in list(self._proposals):
            records = [self._record(run) for run in self._runs(proposal)]
            if any(record is None for record in records):
                continue
            self._search.tell(proposal, _mean_score(records, self.cell.metric))
            self._proposals.remove(proposal)

    def _runs(self, proposal: Proposal) -> Iterator[RunSpecification]:
        return (self._specification(seed, "tuning", proposal.settings) for seed in self._tuning_seeds)

    def _specification(self, seed: int, purpose: Literal["tuning", "test"], chosen: dict[str, Any]) -> RunSpecification:
        name = seed, purpose, str(chosen)
        if name not in self._specifications:
            self._specifications[name] = self.cell.run(seed, purpose, chosen)
        return self._specifications[name]

    def _record(self, run: RunSpecification) -> RunRecord | None:
        """The record of a run; the store is asked once, what is made later is taken note of."""
        if run.id not in self._records:
            record = self._store.get(run.id)
            again = self._retry and record is not None and record.status == "failed" and run.purpose == "test"
            self._records[run.id] = None if again else record
        return self._records[run.id]


def _mean_score(records: list[RunRecord | None], metric: str) -> float | None:
    """Mean score on validation data over the seeds of a trial; None where one of them did not finish."""
    scores = [each.validation.metrics[metric] for each in records if each is not None and each.validation is not None]
    return fmean(scores) if len(scores) == len(records) else None
