"""The demo's experiment: a base, every contender at every seed, one adapter saved and loaded again."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from inarch_benchmarks.comparison.surroundings import processors
from inarch_benchmarks.embedded.adaptation import STEPS, Run, reloaded_accuracy
from inarch_benchmarks.embedded.base import Base, Pretraining, pretrained_base
from inarch_benchmarks.embedded.comparison import claims, rows, verdict
from inarch_benchmarks.embedded.contenders import CONTENDERS, LORA
from inarch_benchmarks.embedded.glyphs import Alphabet
from inarch_benchmarks.embedded.optimisation import Optimisation
from inarch_benchmarks.embedded.workers import MOST, Job, run_jobs, threads

STEPS_A_RUN = 50
"""An adaptation, on one thread, takes about as long as this many steps of pretraining."""

Progress = Callable[[str, int], None]
"""Called with what is going on and how much of ``Experiment.work`` was done since the last call."""


@dataclass(frozen=True)
class Experiment:
    """What is run.

    Attributes:
        seeds: Number of seeds, from 0 on.
        pretraining: Of the base.
        steps: Optimizer steps of an adaptation.
        workers: Number of processes.
        quick: Whether everything is cut so short that the figures mean nothing.
    """

    seeds: int = 3
    pretraining: Pretraining = field(default_factory=Pretraining)
    steps: int = STEPS
    workers: int = field(default_factory=lambda: min(MOST, processors()))
    quick: bool = False

    @property
    def work(self) -> int:
        """All there is to do, in steps of pretraining."""
        return self.pretraining.optimisation.steps + STEPS_A_RUN * len(CONTENDERS) * self.seeds


def quick_experiment(seeds: int) -> Experiment:
    """The same in a few steps: it shows that everything runs, and nothing else."""
    pretraining = Pretraining(Alphabet(classes=10, copies=10), Optimisation(2e-3, steps=3, batch_size=16), held_out=20)
    return Experiment(seeds, pretraining, steps=2, workers=1, quick=True)


@dataclass(frozen=True)
class Outcome:
    """What came of an experiment.

    Attributes:
        experiment: What was run.
        base: The base model.
        runs: Every run, contender by contender.
        reload: ``folder`` of the saved adapter, its ``bytes``, the accuracy ``before`` saving and ``after`` loading.
        seconds: Of everything.
    """

    experiment: Experiment
    base: Base
    runs: list[Run]
    reload: dict[str, Any]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        return {
            "quick": self.experiment.quick,
            "seeds": list(range(self.experiment.seeds)),
            "rows": [asdict(row) for row in rows(self.runs)],
            "verdict": verdict(self.runs),
            "claims_not_shown": claims(self.runs),
            "runs": [asdict(run) for run in self.runs],
            "contenders": [asdict(contender) for contender in CONTENDERS],
            "steps": self.experiment.steps,
            "base": {
                "fingerprint": self.base.fingerprint,
                "origin": self.base.origin,
                "folder": self.base.folder.name,
                "bytes": self.base.size,
                **self.base.record,
            },
            "reload": self.reload,
            "seconds": self.seconds,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "processors": processors(),
            "workers": self.experiment.workers,
            "versions": _versions(),
        }


def perform(experiment: Experiment, output: Path, progress: Progress) -> Outcome:
    """Run the experiment; the adapter of LoRA at seed 0 is left in ``output/adapter``."""
    started = time.perf_counter()
    adapter = output / "adapter"
    base = _base(experiment, progress)
    jobs = [
        Job(contender, seed, experiment.steps, adapter if (contender.name, seed) == (LORA, 0) else None)
        for seed in range(experiment.seeds)
        for contender in CONTENDERS
    ]
    progress("adapting", 0)
    runs = run_jobs(jobs, base.folder, experiment.workers, lambda _: progress("adapting", STEPS_A_RUN))
    order = [contender.name for contender in CONTENDERS]
    runs.sort(key=lambda run: order.index(run.contender))
    reload = _reload(adapter, base, next(run for run in runs if (run.contender, run.seed) == (LORA, 0)))
    return Outcome(experiment, base, runs, reload, round(time.perf_counter() - started, 1))


def _base(experiment: Experiment, progress: Progress) -> Base:
    progress("pretraining", 0)
    # Two threads at most: on pictures of 8 x 8 more of them wait for one another.
    with threads(min(2, processors())):
        base = pretrained_base(experiment.pretraining, lambda: progress("pretraining", 1))
    if base.origin == "cached":
        progress("pretraining", experiment.pretraining.optimisation.steps)
    return base


def _reload(folder: Path, base: Base, run: Run) -> dict[str, Any]:
    with threads(1):
        after = reloaded_accuracy(folder, base.weights(), run.seed)
    size = (folder / "adapter_model.safetensors").stat().st_size
    return {"folder": folder.name, "bytes": size, "before": run.accuracy, "after": after}


def _versions() -> dict[str, str]:
    names = ("inarch", "torch", "transformers", "scikit-learn", "numpy")
    return {"python": python_version(), **{name: version(name) for name in names}}
