"""What the runs say together: means, spreads, paired differences, and what may be claimed from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from inarch_benchmarks.analysis.student import quantile
from inarch_benchmarks.embedded.adaptation import Run
from inarch_benchmarks.embedded.contenders import CONTROL, FULL, HEAD, LORA

MOST_SEEDS = 10
"""More would not end in a demo's time."""

BASE_MATTERS = 0.03
"""By how much LoRA must do better on the pretrained base than on random weights, besides doing so at every seed."""

NEAR_FULL = 0.04
"""How far LoRA may stay behind full fine-tuning."""

CLAIM = f"{LORA} gains from the pretrained base at every seed, beats the head alone and comes near full fine-tuning."
"""What the demo is there to show."""


@dataclass(frozen=True)
class Row:
    """One contender over all seeds.

    Attributes:
        contender: Its name.
        trainable: Number of trained parameters.
        share: The same as a share of the base model's parameters.
        accuracy: Mean over the seeds.
        spread: Standard deviation over the seeds (n - 1); 0 for one seed.
        seconds: Mean time of a run.
        seeds: Number of runs.
    """

    contender: str
    trainable: int
    share: float
    accuracy: float
    spread: float
    seconds: float
    seeds: int


@dataclass(frozen=True)
class Difference:
    """How much better one contender is than another, seed by seed.

    Attributes:
        mean: Mean difference of accuracy.
        margin: Half the width of its 95 % confidence interval (Student's t); infinite for one seed.
        least: The smallest difference at any seed.
    """

    mean: float
    margin: float
    least: float

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves zero out."""
        return abs(self.mean) > self.margin


def rows(runs: Iterable[Run]) -> list[Row]:
    """One row a contender, in the order in which they first appear."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.contender, []).append(run)
    return [_row(name, some) for name, some in grouped.items()]


def difference(runs: Iterable[Run], one: str, other: str) -> Difference:
    """The accuracy of ``one`` less that of ``other``, paired by seed."""
    found = {(run.contender, run.seed): run.accuracy for run in runs}
    seeds = [seed for name, seed in found if name == one and (other, seed) in found]
    differences = [found[one, seed] - found[other, seed] for seed in seeds]
    return Difference(fmean(differences), _margin(differences), min(differences))


def claims(runs: Sequence[Run]) -> list[str]:
    """What ``CLAIM`` says and these runs do not show: one sentence each, none if all of it holds."""
    base, head, full = (difference(runs, LORA, other) for other in (CONTROL, HEAD, FULL))
    checks = {
        f"{LORA} is not clearly better on the pretrained base than on random weights: {_points(base.mean)} on average, "
        f"{_points(base.least)} at worst": base.mean >= BASE_MATTERS and base.least > 0,
        f"{LORA} is not better than training the head alone: {_points(head.mean)} on average": head.mean > 0,
        f"{LORA} does not come near full fine-tuning: {_points(full.mean)} on average": full.mean >= -NEAR_FULL,
    }
    return [f"{sentence}." for sentence, holds in checks.items() if not holds]


def verdict(runs: Sequence[Run]) -> str:
    """Which contenders can be told from LoRA of rank 8 with these seeds, and which cannot, in one sentence."""
    others = [row for row in rows(runs) if row.contender != LORA]
    seeds = max(row.seeds for row in others)
    if seeds == 1:
        return "One seed shows no spread, so no two rows can be told apart: run more seeds."
    gaps = {row.contender: difference(runs, LORA, row.contender) for row in others}
    better = {name: gap for name, gap in gaps.items() if gap.distinguishable and gap.mean > 0}
    worse = {name: gap for name, gap in gaps.items() if gap.distinguishable and gap.mean < 0}
    alike = {name: gap for name, gap in gaps.items() if not gap.distinguishable}
    return (
        f"Paired over {seeds} seeds, each comparison at 95 % confidence, {LORA} is better than {_listed(better)}; "
        f"worse than {_listed(worse)}; and cannot be told from {_listed(alike)}."
    )


def _row(name: str, runs: Sequence[Run]) -> Row:
    accuracies = [run.accuracy for run in runs]
    first = runs[0]
    return Row(
        contender=name,
        trainable=first.trainable,
        share=first.trainable / first.base_parameters,
        accuracy=fmean(accuracies),
        spread=stdev(accuracies) if len(runs) > 1 else 0.0,
        seconds=fmean(run.seconds for run in runs),
        seeds=len(runs),
    )


def _margin(differences: Sequence[float]) -> float:
    if len(differences) == 1:
        return float("inf")
    return float(quantile(len(differences) - 1)) * stdev(differences) / sqrt(len(differences))


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _listed(gaps: Mapping[str, Difference]) -> str:
    return ", ".join(f"{name} ({_points(gap.mean)})" for name, gap in gaps.items()) or "none"
