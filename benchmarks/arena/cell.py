"""One method on one architecture: attached, trained for two steps, saved, loaded and taken off again."""

import math
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import inarch
from inarch_benchmarks.arena.contenders import STEPS, Contender
from inarch_benchmarks.arena.observe import Batch, Observation, Reached, loss_of, observe, reached, snapshot, traces

PASSED, REFUSED, FAILED, MISSING = "passed", "refused", "failed", "not installed"

LOADED_TOLERANCE = 1e-4
START_TOLERANCE = 1e-5
LEARNING_RATE = 1e-2


@dataclass(frozen=True)
class Subject:
    """An architecture ready for the arena.

    Attributes:
        make: Makes the model, equal to the bit each time.
        batch: A batch with labels.
        base: What the model says to the batch.
        reached: What the loss depends on.
        parameters: Number of its parameters.
    """

    make: Callable[[], nn.Module]
    batch: Batch
    base: Observation
    reached: Reached
    parameters: int = 0


@dataclass(frozen=True)
class Cell:
    """What came of one method on one architecture.

    Attributes:
        outcome: ``passed``, ``refused``, ``failed`` or ``not installed``.
        reason: Why it was refused or failed, in a line.
        error: The type of the error behind it, if there was one.
        sites: Number of sites.
        unused: Number of sites in a part of the model that the loss does not depend on.
        trainable: Number of trained parameters.
        seconds: What it took.
    """

    outcome: str
    reason: str = ""
    error: str = ""
    sites: int = 0
    unused: int = 0
    trainable: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The cell as JSON types."""
        return asdict(self)


class BrokenLawError(Exception):
    """A law that did not hold."""


def subject(make: Callable[[], nn.Module], batch: Batch) -> Subject:
    """Run the base model: forward twice, backward once.

    Raises:
        BrokenLawError: The base itself is no ground to stand on: its loss is not finite, or not the same twice.
    """
    model = make()
    base = observe(model, batch)
    _require(math.isfinite(base.loss), f"the base's loss is {base.loss}")
    _require(observe(make(), batch).equals(base), "the base model is not the same twice")
    found = reached(model, batch)
    _require(bool(found.parameters), "the base's loss depends on none of its parameters")
    return Subject(make, batch, base, found, sum(parameter.numel() for parameter in model.parameters()))


def run_cell(subject: Subject, method: str | inarch.Method, contender: Contender) -> Cell:
    """Put ``method`` through every law on ``subject``; whatever is raised becomes the cell's outcome."""
    start = time.perf_counter()
    if isinstance(method, str) and method not in inarch.methods():
        return Cell(MISSING)
    trial = _Trial(subject, method, contender)
    try:
        trial.run()
        outcome, reason, error = (REFUSED, trial.refusal, trial.refused_by) if trial.refusal else (PASSED, "", "")
    except BrokenLawError as failure:
        outcome, reason, error = FAILED, str(failure), type(failure).__name__
    except Exception as failure:  # whatever a model or a method raises is the outcome
        outcome, reason, error = FAILED, one_line(failure), type(failure).__name__
    return Cell(
        outcome, reason, error, trial.sites, trial.unused, trial.trainable, round(time.perf_counter() - start, 3)
    )


def one_line(error: BaseException) -> str:
    """An error in a line, with the innermost frame outside torch."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "/torch/" not in frame.filename] or list(frames)
    where = f" at {Path(outside[-1].filename).name}:{outside[-1].lineno}" if outside else ""
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said}{where}"


@dataclass
class _Trial:
    """The laws of one cell, in turn."""

    subject: Subject
    method: str | inarch.Method
    contender: Contender
    refusal: str = ""
    refused_by: str = ""
    sites: int = 0
    unused: int = 0
    trainable: int = 0
    touched: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Attach, train, save, load, detach.

        Raises:
            BrokenLawError: A law did not hold.
        """
        model = self.subject.make()
        observe(model, self.subject.batch)  # some models change themselves in their first forward pass
        before = snapshot(model)
        adapter = self._attach(model, before)
        if adapter is None:
            return
        self.sites, self.trainable = len(adapter.sites), adapter.num_trainable
        self._starts(model)
        self._train(adapter, model)
        trained = self._learnt(adapter, model)
        with tempfile.TemporaryDirectory() as folder:
            adapter.save(folder)
            self._loads(folder, trained)
        adapter.detach()
        self._gone(model, before, "detach")

    def _attach(self, model: nn.Module, before: Mapping[str, Any]) -> inarch.Adapter | None:
        torch.manual_seed(0)
        try:
            if isinstance(self.method, str):
                return inarch.attach(model, self.method, **self.contender.settings)
            return inarch.attach(model, self.method)
        except inarch.InarchError as error:
            self._gone(model, before, f"the refusal ({error})")
            self.refusal, self.refused_by = " ".join(str(error).split()), type(error).__name__
            return None

    def _starts(self, model: nn.Module) -> None:
        start = observe(model, self.subject.batch)
        _require(math.isfinite(start.loss), f"the loss is {start.loss} right after attaching")
        away = start.distance(self.subject.base)
        if self.contender.starts_at_base:
            _require(away <= START_TOLERANCE, f"the untrained adapter is {away:.2g} away from the base")

    def _train(self, adapter: inarch.Adapter, model: nn.Module) -> None:
        optimizer = torch.optim.AdamW(list(adapter.parameters()), lr=LEARNING_RATE, weight_decay=0.0)
        for _ in range(STEPS):
            loss = loss_of(model, self.subject.batch)
            if not loss.requires_grad:
                return  # no adapter took part in the loss; what should have is named in the end
            loss.backward()
            self._note_gradients(adapter)
            optimizer.step()
            optimizer.zero_grad()

    def _note_gradients(self, adapter: inarch.Adapter) -> None:
        for name, parameter in adapter.named_parameters():
            if parameter.grad is not None:
                _require(bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite")
                if bool(parameter.grad.any()):
                    self.touched.add(name)

    def _learnt(self, adapter: inarch.Adapter, model: nn.Module) -> Observation:
        """Every site that the loss depends on has had a gradient, and what the model says has changed."""
        trained = observe(model, self.subject.batch)
        _require(math.isfinite(trained.loss), f"the loss is {trained.loss} after {STEPS} steps")
        silent = [site.name for site in adapter.sites if not self._touched_at(adapter, site.name)]
        needed = [site.name for site in adapter.sites if self.subject.reached.needs(site)]
        wrongly = [name for name in silent if name in needed]
        self.unused = len(silent) - len(wrongly)
        known = self.subject.reached.parameters
        wrongly += [name for name in adapter.trained if name in known and name not in self.touched]
        _require(not wrongly, f"{len(wrongly)} of {len(adapter.sites)} sites got no gradient: {_some(wrongly)}")
        _require(bool(self.touched), f"the loss depends on none of the {len(silent)} sites: {_some(silent)}")
        _require(not trained.equals(self.subject.base), f"a silent no-op: {STEPS} steps changed nothing")
        return trained

    def _touched_at(self, adapter: inarch.Adapter, site: str) -> bool:
        names = (name for name, _ in adapter.modules[site].named_parameters())
        return any((f"{site}.{name}" if site else name) in self.touched for name in names)

    def _loads(self, folder: str, trained: Observation) -> None:
        fresh = self.subject.make()
        inarch.load(fresh, folder)
        away = observe(fresh, self.subject.batch).distance(trained)
        _require(away <= LOADED_TOLERANCE, f"the loaded adapter is {away:.2g} away from the saved one")

    def _gone(self, model: nn.Module, before: Mapping[str, Any], after: str) -> None:
        """The model is what it was, to the bit, and says what it said."""
        left = traces(before, snapshot(model))
        _require(not left, f"{after} leaves traces: {left}")
        again = observe(model, self.subject.batch)
        away = again.distance(self.subject.base)
        _require(again.equals(self.subject.base), f"{after} leaves the model {away:.2g} away from the base")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenLawError(otherwise)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
