"""From a suite to its cells: names are looked up, sizes solved and recipes filled in, before anything is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from statistics import fmean
from typing import Any

from pydantic import ValidationError
from torch import nn

import inarch
from inarch import ConfigError, Method, PlanError
from inarch_benchmarks.budgets.budget import parameters_of
from inarch_benchmarks.budgets.solve import Fitted, counted, fit
from inarch_benchmarks.comparison.catalogue import made_model, task
from inarch_benchmarks.comparison.cell import Cell
from inarch_benchmarks.comparison.contender import Contender, contenders
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.suite import Suite, TaskEntry
from inarch_benchmarks.comparison.task import BenchmarkTask


def check(suite: Suite) -> None:
    """Refuse what can be refused before any base model is there.

    Raises:
        UnknownNameError: A task, model or method that nothing provides.
        ConfigError: A setting, a learning rate or a recipe that cannot be.
    """
    tasks = {entry.name: task(entry.name) for entry in suite.tasks}
    for name in models(suite):
        made_model(name)
    for entry in suite.tasks:
        recipe_of(suite, entry)
    for contender in contenders(suite):
        if contender.trained:
            inarch.method(contender.method, **contender.settings)
        for name in contender.rates if isinstance(contender.rates, dict) else ():
            if name not in tasks:
                raise ConfigError(
                    f"{contender.label} has a learning rate for {name}, which is no task of the suite: "
                    f"its tasks are {', '.join(tasks)}."
                )


def models(suite: Suite) -> list[str]:
    """The names of the suite's base models."""
    return list(dict.fromkeys(suite.models or [task(entry.name).model for entry in suite.tasks]))


def recipe_of(suite: Suite, entry: TaskEntry) -> Recipe:
    """How a task is trained: as the task says, but for what the suite says, but for what its entry says.

    Raises:
        ConfigError: A recipe that cannot be.
    """
    content: dict[str, Any] = task(entry.name).recipe.model_dump(exclude_none=True)
    for override in (suite.recipe, entry.recipe):
        if {"steps", "epochs"} & override.keys():
            content = {key: value for key, value in content.items() if key not in ("steps", "epochs")}
        content |= override
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("recipe", *map(str, first["loc"])))
        raise ConfigError(f"{where} of {entry.name}: {first['msg'].removeprefix('Value error, ')}.") from error


@dataclass(frozen=True)
class Resolved:
    """The cells of a suite.

    Attributes:
        cells: Task by task.
        refused: What cannot be put on a model: contender, task and reason, in one sentence each.
    """

    cells: tuple[Cell, ...]
    refused: tuple[str, ...]


def resolve(suite: Suite, bases: Mapping[str, Base]) -> Resolved:
    """Every cell of a suite, task by task. A method that one of several models refuses is left out there.

    Args:
        suite: What ``check`` has let pass.
        bases: By name.

    Raises:
        ConfigError: A budget that a method cannot meet, and the nearest that it can.
        PlanError: A method that can be put on none of the models.
    """
    cells: list[Cell] = []
    refused: dict[str, list[PlanError]] = {}
    told: list[str] = []
    for entry in suite.tasks:
        for name in suite.models or (task(entry.name).model,):
            setting = _Setting(suite, entry, bases[name])
            for contender in (each for each in contenders(suite) if each.runs_on(entry.name)):
                try:
                    cells.append(setting.cell(contender))
                except PlanError as error:
                    refused.setdefault(contender.label, []).append(error)
                    told.append(f"{contender.label} is left out on {entry.name}: {' '.join(str(error).split())}")
    there = {cell.contender for cell in cells}
    for contender in contenders(suite):
        if contender.kind == "method" and contender.label not in there:
            raise refused[contender.label][0]
    return Resolved(tuple(cells), tuple(told))


class _Setting:
    """One task on one base, where contenders are put."""

    def __init__(self, suite: Suite, entry: TaskEntry, base: Base) -> None:
        self._suite = suite
        self._task: BenchmarkTask = task(entry.name)
        self._base = base
        rows = len(self._task.lessons(base, 0).training)
        self._recipe = recipe_of(suite, entry).for_rows(rows)

    @cached_property
    def _model(self) -> nn.Module:
        return self._task.load(self._base, 0)

    def cell(self, contender: Contender) -> Cell:
        """The cell of a contender here.

        Raises:
            PlanError: It cannot be put on this model, as the head alone cannot where a model has none.
        """
        if not contender.trained:
            return self._cell(contender, self._recipe.model_copy(update={"steps": 0}), learning_rate=0.0)
        method = inarch.method(contender.method, **contender.settings)
        fitted = self._fitted(contender, method)
        tuned = self._suite.tuning is not None
        rate = contender.rate(self._task.name) or middle_rate(method)
        return self._cell(
            contender,
            self._recipe,
            settings=fitted.method.to_dict(),
            wanted=None if contender.budget is None else self._wanted(contender),
            size=fitted.size,
            parameters=fitted.parameters,
            peak=fitted.peak,
            learning_rate=None if tuned else rate,
            search={name: list(values) for name, values in method.search.items()} if tuned else {},
        )

    def _cell(self, contender: Contender, recipe: Recipe, **fitted: Any) -> Cell:
        return Cell(
            contender=contender.label,
            kind=contender.kind,
            method=contender.method,
            pretrained=contender.pretrained,
            task=self._task.name,
            data=self._task.fingerprint(),
            metric=self._task.metric,
            chance=self._task.chance,
            model=self._base.name,
            place=self._base.place,
            weights=self._base.fingerprint,
            recipe=recipe,
            **fitted,
        )

    def _wanted(self, contender: Contender) -> int:
        assert contender.budget is not None
        return parameters_of(contender.budget, self._model)

    def _fitted(self, contender: Contender, method: Method) -> Fitted:
        train = self._task.fresh(self._model)
        if contender.budget is not None:
            return fit(self._model, method, self._wanted(contender), train=train)
        return counted(self._model, method, train=train)


def middle_rate(method: Method) -> float:
    """The middle of the learning rates that a method would be tuned over, on a logarithmic scale."""
    return float(f"{exp(fmean(log(rate) for rate in method.search['learning_rate'])):.2g}")
