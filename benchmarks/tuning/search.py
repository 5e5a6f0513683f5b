"""The search of one cell: a method's settings for one task and model, by asking and telling."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inarch_benchmarks.analysis.entry import Trial
from inarch_benchmarks.comparison.extras import need
from inarch_benchmarks.tuning.rates import GRID
from inarch_benchmarks.tuning.sampler import sample
from inarch_benchmarks.tuning.space import RATE, Settings, Space
from inarch_benchmarks.tuning.strategy import Told, best_of, next_round, on_edge


@dataclass(frozen=True)
class Proposal:
    """A trial to be made.

    Attributes:
        number: Its place among the trials of its search, from 0.
        settings: What to try, the learning rate among them.
    """

    number: int
    settings: Settings


@dataclass(frozen=True)
class _Record:
    """What the journal has of a trial: ``begin`` and ``end`` are the numbers between which its round lies."""

    number: int
    settings: Settings
    begin: int
    end: int
    trial: int
    told: bool
    score: float | None


class Search:
    """The trials of one cell, kept in a study of Optuna's.

    What is proposed follows from the scores alone, in whatever order they are told, so a search that was cut short goes
    on as if it had not been: a proposal is written down before it is given out, and one that nobody has told about is
    given out again by the next ``Search`` of that name. A search over another space, or with another number of trials,
    is another study; the strategy is described in ``strategy.py``.
    """

    def __init__(self, name: str, space: Space, storage: Any) -> None:
        """Open a search, or begin it.

        Args:
            name: Of the cell: contender, task and model.
            space: What is searched, and for how long.
            storage: Of ``open_journal``.
        """
        self.space = space
        self._optuna = need("optuna", "bench")
        self._study = self._optuna.create_study(
            study_name=f"{name} [{space.fingerprint}]",
            storage=storage,
            direction="maximize",
            sampler=self._optuna.samplers.RandomSampler(),  # is never asked
            load_if_exists=True,
        )
        self._given: set[int] = set()

    def ask(self) -> list[Proposal]:
        """The trials that can be made now and that this object has not given out; none while a round is under way."""
        self._plan()
        fresh = [record for record in self._records() if not record.told and record.number not in self._given]
        self._given |= {record.number for record in fresh}
        return [Proposal(record.number, record.settings) for record in fresh]

    def tell(self, proposal: Proposal, score: float | None) -> None:
        """Say how a trial has ended; a second word on the same one is ignored.

        Args:
            proposal: The trial.
            score: Main metric on validation data, more is better; None, or a number that is not finite, for a trial
                that failed or diverged. It counts as a trial like any other.
        """
        record = self._records()[proposal.number]
        if record.told:
            return
        if score is None or not math.isfinite(score):
            self._study.tell(record.trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(record.trial, float(score))

    @property
    def done(self) -> bool:
        """Whether every trial was made."""
        records = self._records()
        if not records or not all(record.told for record in records):
            return False
        return not next_round(self.space, _told(records), sample)

    @property
    def best(self) -> Settings | None:
        """The best settings so far; None where every trial failed."""
        best = best_of(self.space, _told(self._records()))
        return None if best is None else dict(best.settings)

    @property
    def edge(self) -> bool:
        """Whether the best learning rate is the lowest or highest of those tried."""
        return on_edge(self.space, _told(self._records()))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial that has ended, the best one so far marked as chosen."""
        told = _told(self._records())
        best = best_of(self.space, told)
        return tuple(Trial(trial.settings, trial.score, trial is best) for trial in told)

    def _plan(self) -> None:
        """Write down the next round if the last has ended, or the rest of one that was cut short while written down."""
        records = self._records()
        complete = not records or len(records) == records[-1].end
        if complete and not all(record.told for record in records):
            return
        begin = len(records) if complete else records[-1].begin
        proposed = next_round(self.space, _told(records[:begin]), sample)
        for number, settings in enumerate(proposed, begin):
            if number >= len(records):
                self._write(number, settings, begin, begin + len(proposed))

    def _write(self, number: int, settings: Settings, begin: int, end: int) -> None:
        """A trial in one line of the journal: it is there whole or not at all."""
        distributions = self._optuna.distributions
        kinds: dict[str, Any] = {RATE: distributions.FloatDistribution(GRID[0], GRID[-1], log=True)}
        for name, values in self.space.others.items():
            kinds[name] = distributions.CategoricalDistribution([_scalar(value) for value in values])
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=self._optuna.trial.TrialState.RUNNING,
                params={name: _scalar(value) for name, value in settings.items()},
                distributions=kinds,
                user_attrs={"number": number, "settings": settings, "begin": begin, "end": end},
            )
        )

    def _records(self) -> list[_Record]:
        """The trials by number; of two that processes wrote down at once, which are equal, the first."""
        found: dict[int, _Record] = {}
        for trial in self._study.get_trials(deepcopy=False):
            attributes = trial.user_attrs
            score = trial.value if trial.state == self._optuna.trial.TrialState.COMPLETE else None
            record = _Record(**attributes, trial=trial.number, told=trial.state.is_finished(), score=score)
            found.setdefault(record.number, record)
        return [found[number] for number in range(len(found))]


def _told(records: Sequence[_Record]) -> list[Told]:
    return [Told(record.settings, record.score) for record in records if record.told]


def _scalar(value: Any) -> Any:
    """A value as Optuna takes it: of JSON's scalar types."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)
