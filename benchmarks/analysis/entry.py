"""An entry: one contender of a suite on one task, with the records of its runs."""

from dataclasses import dataclass, field
from typing import Any, Literal

from inarch_benchmarks.comparison.record import RunRecord

Kind = Literal["method", "reference", "control"]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried in tuning.

    Attributes:
        settings: What was varied: ``learning_rate`` and whatever else was searched.
        score: Mean main metric on validation data; None where it failed.
        chosen: Whether the test runs use it.
    """

    settings: dict[str, Any]
    score: float | None
    chosen: bool


@dataclass(frozen=True)
class Entry:
    """What a suite has of one contender on one task and model.

    Attributes:
        contender: Its label in the suite, such as ``lora r8`` or, with a budget, ``lora @ 5000``.
        method: Name of the method.
        kind: ``reference`` for full fine-tuning, the head alone and zero-shot; ``control`` for no pretraining.
        task: Name of the task.
        model: Name of the base model.
        metric: The task's main metric.
        chance: What the metric is for guesses.
        budget: Trained parameters wanted, the head aside; None where the suite named no budget.
        tuned: Whether its settings were chosen by trials in this suite.
        edge: Whether the best setting still lay on an edge of what was tried.
        trials: Everything that was tried.
        records: Of its test runs, by seed; those that did not finish are among them.
        seeds: How many the suite asks for.
        timing: Figures of the timing pass (``timing.py``) by name; empty where none was made.
    """

    contender: str
    method: str
    kind: Kind
    task: str
    model: str
    metric: str
    chance: float
    budget: int | None = None
    tuned: bool = False
    edge: bool = False
    trials: tuple[Trial, ...] = ()
    records: tuple[RunRecord, ...] = ()
    seeds: int = 0
    timing: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """Records with a score on test data, in the order of their seeds."""
        return tuple(record for record in self.records if record.status == "finished" and record.test is not None)

    @property
    def contended(self) -> bool:
        """Whether its times are too long since something else was running.

        Those of the timing pass are medians: they are where that was so in more than half of its rounds. Of what was
        not timed there, the times are those of its runs, and any run counts.
        """
        if "step" in self.timing:
            return (self.timing.get("contended") or 0) > 0.5
        return any(record.contended for record in self.finished)
