"""One run, from its specification to its record."""

import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

import inarch
from inarch import Adapter, InarchError
from inarch_benchmarks.comparison import surroundings
from inarch_benchmarks.comparison.catalogue import made_model, task
from inarch_benchmarks.comparison.memory import StepMemory
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.record import Curve, Forgetting, Memory, Parameters, RunRecord, Seconds
from inarch_benchmarks.comparison.scorer import examine, measure
from inarch_benchmarks.comparison.specification import RunSpecification
from inarch_benchmarks.comparison.task import BenchmarkTask, Lessons
from inarch_benchmarks.comparison.training import POINTS, DivergedError, Point, train
from inarch_benchmarks.comparison.unfinished import Unfinished
from inarch_benchmarks.comparison.watch import Watch

VALIDATIONS = 4
"""How often the validation score is written down during the training of a test run; it divides ``POINTS``."""


def perform(specification: RunSpecification, base: Base, unfinished: Unfinished | None = None) -> RunRecord:
    """Train and score as specified. An error of the run is part of its record, never raised.

    Args:
        specification: What to run.
        base: The model of its name, which lies ready.
        unfinished: Where training goes on from and keeps how far it is; nowhere by default.
    """
    run = _Run(specification, base, unfinished or Unfinished(None))
    found: dict[str, Any] = {}
    try:
        with _random_state():
            found = run.results()
        status, reason = "finished", ""
    except DivergedError as error:
        status, reason = "diverged", str(error)
    except Exception as error:  # whatever a stranger's method raises is a result of the comparison
        status, reason = "failed", _reason(error)
    return RunRecord(
        id=specification.id,
        specification=specification,
        status=status,  # type: ignore[arg-type]
        reason=reason,
        curve=run.curve(),
        software=surroundings.software(),
        hardware=surroundings.hardware(),
        revision=surroundings.revision(),
        date=surroundings.now(),
        **found,
    )


def adapted(task: BenchmarkTask, base: Base, specification: RunSpecification) -> tuple[nn.Module, Adapter | None]:
    """The model with a new head and the method of a specification, neither of them trained; no method for no steps."""
    model = task.load(base, specification.seed, pretrained=specification.pretrained)
    if torch.cuda.is_available():
        model.cuda()
    if specification.recipe.steps == 0:
        return model, None
    method = inarch.method(specification.method, **specification.settings)
    torch.manual_seed(specification.seed)
    adapter = inarch.attach(model, method.for_steps(specification.recipe.steps or 1), train=task.fresh(model))
    return model, adapter


_losses_of_bases: dict[tuple[str, str], float] = {}
"""General losses by task and fingerprint of the base."""


class _Run:
    """A run while it goes on; its curve is there also when it fails."""

    def __init__(self, specification: RunSpecification, base: Base, unfinished: Unfinished) -> None:
        self._specification = specification
        self._base = base
        self._unfinished = unfinished
        self._points: list[Point] = []
        self._validations: list[tuple[int, float]] = []
        self._watch = Watch()

    def results(self) -> dict[str, Any]:
        """Everything that the record holds of a finished run."""
        wanted, base, watch = self._specification, self._base, self._watch
        with watch.lap("loading"):
            on = task(wanted.task)
            lessons = on.lessons(base, wanted.seed)
            model, adapter = adapted(on, base, wanted)
        with nullcontext() if adapter is None else adapter.disabled():
            before = self._loss_of_base(model)
        found = self._trained(on, lessons, model, adapter) if adapter else {"parameters": untrained(model)}
        after = None
        with watch.lap("scoring"):
            validation = measure(on, model, lessons.validation)
            test = examine(on, base, model) if wanted.purpose == "test" else None
        with suppress(InarchError):  # as a soft prompt leaves no positions for texts as long as the base knows
            after = self._general_loss(model)
        forgetting = None if before is None or after is None else Forgetting(before=before, after=after)
        return found | {
            "validation": validation,
            "test": test,
            "forgetting": forgetting,
            "seconds": self._seconds(),
            "contended": watch.contended("training") and not torch.cuda.is_available(),
        }

    def curve(self) -> Curve:
        """The points so far."""
        return Curve(
            steps=[point.step for point in self._points],
            loss=[round(point.loss, 6) for point in self._points],
            validation_steps=[step for step, _ in self._validations],
            validation=[round(score, 6) for _, score in self._validations],
        )

    def _train(
        self, on: BenchmarkTask, lessons: Lessons, model: nn.Module, adapter: Adapter, memory: StepMemory
    ) -> None:
        wanted = self._specification
        steps = wanted.recipe.steps or 0

        def on_point(point: Point) -> None:
            self._points.append(point)
            done = len(self._points)
            if wanted.purpose == "test" and done % (POINTS // VALIDATIONS) == 0 and point.step < steps:
                with self._watch.lap("curve"):
                    score = measure(on, model, lessons.validation)
                self._validations.append((point.step, score.metrics[on.metric]))

        train(
            model,
            adapter,
            lessons.training,
            wanted.recipe,
            wanted.learning_rate,
            wanted.seed,
            memory,
            on_point,
            self._unfinished,
            lambda: self._notes(memory),
        )

    def _notes(self, memory: StepMemory) -> dict[str, Any]:
        """What a checkpoint keeps beside the state of training."""
        counted = memory.result()
        return {
            "points": [asdict(point) for point in self._points],
            "validations": self._validations,
            "watch": self._watch.notes(),
            "memory": counted.model_dump() if counted else None,
        }

    def _go_on(self) -> StepMemory:
        """Take up what an earlier part of the run has noted; gives the memory that it counted."""
        notes = self._unfinished.find()
        if not notes:
            return StepMemory()
        self._points = [Point(**point) for point in notes["points"]]
        self._validations = [(step, score) for step, score in notes["validations"]]
        self._watch.add(notes["watch"])
        return StepMemory(Memory(**notes["memory"]) if notes["memory"] else None)

    def _trained(self, on: BenchmarkTask, lessons: Lessons, model: nn.Module, adapter: Adapter) -> dict[str, Any]:
        """Train, and say what it took."""
        parameters = count_parameters(on, model, adapter)
        memory = self._go_on()
        with self._watch.lap("training"):
            self._train(on, lessons, model, adapter, memory)
            adapter.finish()
        with self._watch.lap("saving"):
            size = stored_bytes(adapter)
        effective = min(parameters.effective, adapter.num_trainable)
        return {
            "parameters": parameters.model_copy(update={"effective": effective}),
            "stored_bytes": size,
            "memory": memory.result(),
        }

    def _loss_of_base(self, model: nn.Module) -> float | None:
        """``_general_loss`` before anything is trained: the same in every run on one base, so it is kept."""
        key = self._specification.task, self._base.fingerprint
        if key not in _losses_of_bases:
            loss = self._general_loss(model)
            if loss is None:
                return None
            _losses_of_bases[key] = loss
        return _losses_of_bases[key]

    def _general_loss(self, model: nn.Module) -> float | None:
        """The base's own loss on what it was pretrained on; in test runs on a pretrained base that has such data."""
        wanted = self._specification
        made = made_model(wanted.model)
        if made is None or wanted.purpose == "tuning" or not wanted.pretrained:
            return None
        backbone: nn.Module = model.base_model  # type: ignore[assignment]
        with self._watch.lap("forgetting"), torch.no_grad():
            return made.general_loss(self._base, backbone)

    def _seconds(self) -> Seconds:
        laps = self._watch.laps
        curve = laps.get("curve", 0.0)
        steady = [point.seconds for point in self._points[POINTS // 10 :]] or [0.0]
        total = self._watch.total()
        return Seconds(
            training=round(laps.get("training", 0.0) - curve, 4),
            step=sorted(steady)[len(steady) // 2],
            total=round(total, 4),
            harness=round(total - sum(laps.values()) + curve, 4),
        )


def count_parameters(task: BenchmarkTask, model: nn.Module, adapter: Adapter) -> Parameters:
    """The numbers of parameters of a model with an adapter that is not trained yet."""
    report = adapter.report()
    names = set(task.fresh(model)) & set(adapter.trained)
    fresh = sum(parameter.numel() for name, parameter in model.named_parameters() if name in names)
    with adapter.disabled():
        kept = inarch.plan(model, adapter.method.effective(), train=task.fresh(model)).report()
    return Parameters(
        base=report.base,
        trainable=adapter.num_trainable,
        head=report.trainable_head + fresh,
        effective=kept.trainable,
    )


def untrained(model: nn.Module) -> Parameters:
    """The numbers of parameters of a model that nothing is trained of."""
    base = sum(parameter.numel() for parameter in model.parameters())
    return Parameters(base=base, trainable=0, head=0, effective=0)


def stored_bytes(adapter: Adapter) -> int:
    """Size of the saved adapter."""
    with tempfile.TemporaryDirectory() as folder:
        adapter.save(folder)
        return sum(file.stat().st_size for file in Path(folder).iterdir())


@contextmanager
def _random_state() -> Iterator[None]:
    """Leaves the global random state as it was."""
    with torch.random.fork_rng():
        yield


def _reason(error: Exception) -> str:
    """The error and where it was raised, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
