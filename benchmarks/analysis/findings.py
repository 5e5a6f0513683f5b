"""The findings: everything a report says, worked out of the entries of a suite."""

from dataclasses import dataclass, field
from typing import Literal

from inarch_benchmarks.analysis.entry import Entry

Verdict = Literal["better", "worse", "indistinguishable", "too few seeds"]


@dataclass(frozen=True)
class Interval:
    """A mean and the 95 % interval around it.

    Attributes:
        mean: Over seeds.
        low: Lower end; NaN for one seed.
        high: Upper end; NaN for one seed.
        seeds: Number of seeds.
        spread: Standard deviation over seeds (n - 1); NaN for one.
        item_error: Standard error that comes from the choice of test items; 0 where items are not known.
        kind: How the ends were found; ``none`` where one seed allows none.
    """

    mean: float
    low: float
    high: float
    seeds: int
    spread: float
    item_error: float
    kind: Literal["t", "bootstrap", "none"]


@dataclass(frozen=True)
class Difference:
    """How much better ``one`` did than ``other`` on a task, paired by seed.

    Attributes:
        one: Label of a contender.
        other: Label of another.
        task: Name of the task.
        model: Name of the base.
        interval: Of the paired difference of the main metric, seeds and test items both uncertain.
        p: Two-sided, of the paired t test with both uncertain: below 5 % exactly where the interval leaves zero out;
            NaN with fewer than two seeds.
        adjusted: ``p`` after Holm's correction over the family it was asked in: all differences from one contender.
        improvement: Probability that a run of ``one`` beats a run of ``other``.
        detectable: The smallest true difference that these seeds would have found with a power of 80 %, at a level of
            5 % before Holm's correction; NaN with fewer than two seeds.
        seeds_needed: How many seeds would settle a difference of the size seen, with a power of 80 %; None where no
            number up to 1000 would.
        verdict: ``better`` and ``worse`` only where the adjusted ``p`` is below 5 %; ``too few seeds`` below three.
        stack: Which software they ran on; several letters, as in ``A+B``, where it was not the same.
    """

    one: str
    other: str
    task: str
    model: str
    interval: Interval
    p: float
    adjusted: float
    improvement: float
    detectable: float
    seeds_needed: int | None
    verdict: Verdict
    stack: str = ""


@dataclass(frozen=True)
class Row:
    """One entry in numbers.

    Attributes:
        entry: The entry.
        score: Main metric on test data; None where no run finished.
        gap: Share of the way from the head alone to full fine-tuning; None where the two cannot be told apart.
        front: Probability of being on the Pareto front of score against trained parameters of its task, the head's
            aside; 0 for controls, which compete with nobody.
        failures: Runs that did not finish.
        stack: Which software it ran on, as a letter; several, as in ``A+B``, where its own runs are mixed.
    """

    entry: Entry
    score: Interval | None
    gap: Interval | None
    front: float
    failures: int
    stack: str


@dataclass(frozen=True)
class Summary:
    """One contender over all tasks.

    Attributes:
        contender: Its label.
        gap: Mean share of the head-to-full gap over the tasks where there is one; None where there is none. Its
            spread is over tasks.
        score: Mean score over the tasks; None unless it finished on every task.
        tasks: On how many tasks it finished; the same task on another model is another.
        stack: Which software its runs were made with; several letters, as in ``A+B``, where they were mixed.
    """

    contender: str
    gap: Interval | None
    score: float | None
    tasks: int
    stack: str = ""


@dataclass(frozen=True)
class Findings:
    """What a suite's runs say.

    Attributes:
        suite: Its name.
        rows: One an entry, task by task.
        differences: Of every method from the suite's baseline, and from full fine-tuning.
        summaries: One a contender.
        stacks: Software by letter.
        remarks: What a reader must know before believing a figure, one sentence each: missing runs, edges, settings
            that were not tuned, mixed software, contended times.
    """

    suite: str
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    summaries: tuple[Summary, ...]
    stacks: dict[str, dict[str, str | None]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
