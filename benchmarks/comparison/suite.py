"""A suite: models x tasks x methods x budgets x seeds, as one YAML file says it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from inarch import ConfigError
from inarch.errors import suggestion
from inarch.training.yaml_file import read_yaml

Reference = Literal["full", "head", "zero-shot"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _task_entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _method_entry(value: Any) -> Any:
    """``lora`` and ``lora: {rank: 8}`` are short for ``{method: lora, settings: {rank: 8}}``."""
    if isinstance(value, str):
        return {"method": value}
    if isinstance(value, Mapping) and len(value) == 1 and "method" not in value:
        ((name, settings),) = value.items()
        return {"method": name, "settings": settings or {}}
    return value


class TaskEntry(_Section):
    """One task of a suite.

    Attributes:
        name: Of a registered task.
        recipe: What is trained otherwise than the task and the suite say.
    """

    name: str
    recipe: dict[str, Any] = {}


class MethodEntry(_Section):
    """One method of a suite.

    Attributes:
        method: Name of the method.
        label: What it is called in the report; made of the method and its settings where it is left out.
        settings: Of the method; the rest is as the method has it.
        learning_rate: Where the suite is not tuned: one rate, or one for each task by name.
        budgets: Whether its size is solved for each budget of the suite; if not, it runs as it is set.
        tasks: Those it is tried on, where it cannot be on all; every task of the suite where it is left out.
    """

    method: str
    label: str | None = None
    settings: dict[str, Any] = {}
    learning_rate: float | dict[str, float] | None = None
    budgets: bool = True
    tasks: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """Its label, or the method with its settings."""
        if self.label is not None:
            return self.label
        told = [f"{name}={_short(value)}" for name, value in self.settings.items()]
        return " ".join([self.method, *told])


class TuningPlan(_Section):
    """How settings are chosen: the same number of trials for every method, on validation data.

    Attributes:
        trials: For each contender on each task.
        seeds: Runs of each trial, whose mean score counts; seeds that no test run uses.
    """

    trials: Annotated[int, Field(ge=1)]
    seeds: Annotated[int, Field(ge=1)] = 1


class PublishedRow(_Section):
    """A figure from a paper, shown beside the suite's own and never mixed with them.

    Attributes:
        label: The method as the source calls it.
        source: Where it stands.
        task: Name of the task.
        score: As published, in the unit of the source.
        parameters: Trained ones, as published.
        items: Number of test items, where the score is a mean over them.
        note: What a reader must know.
    """

    label: str
    source: str
    task: str
    score: float
    parameters: int | None = None
    items: int | None = None
    note: str = ""


class Suite(_Section):
    """What is compared.

    Attributes:
        name: Of the suite.
        about: What it shows, in a paragraph.
        notes: What a reader of its figures must know.
        models: Base models, each tried on every task; each task's own where it is left out.
        tasks: What is learnt.
        methods: What is compared.
        references: Rows to compare with: full fine-tuning, the head alone, the base with a head that is not trained.
        budgets: Trained parameters, as a number or a share of the base such as ``1%``, that each method with a size is
            fitted to; every method as it is set, where it is empty.
        baseline: Label of the contender that the others are compared with; the first where it is left out.
        control: Whether the baseline is also run on a base without pretraining.
        seeds: How many.
        tuning: How settings are chosen; where it is left out, they are those of the suite and called not tuned.
        recipe: What is trained otherwise than the tasks say.
        timing: Rounds of the pass that measures times; none for 0.
        published: Figures of papers.
        reference_rates: Learning rates of the references, where the suite is not tuned.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    about: str = ""
    notes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tasks: Annotated[tuple[Annotated[TaskEntry, BeforeValidator(_task_entry)], ...], Field(min_length=1)]
    methods: Annotated[tuple[Annotated[MethodEntry, BeforeValidator(_method_entry)], ...], Field(min_length=1)]
    references: tuple[Reference, ...] = ("full", "head", "zero-shot")
    reference_rates: dict[Reference, float | dict[str, float]] = {}
    budgets: tuple[int | str, ...] = ()
    baseline: str | None = None
    control: bool = True
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
    tuning: TuningPlan | None = None
    recipe: dict[str, Any] = {}
    timing: Annotated[int, Field(ge=0)] = 15
    published: tuple[PublishedRow, ...] = ()

    @field_validator("tasks")
    @classmethod
    def _tasks_once(cls, tasks: tuple[TaskEntry, ...]) -> tuple[TaskEntry, ...]:
        _require_once([task.name for task in tasks], "a task stands twice")
        return tasks

    @model_validator(mode="after")
    def _labels(self) -> Self:
        labels = [entry.called for entry in self.methods]
        _require_once([*labels, *self.references], "two contenders have one label; give one of them another")
        if self.baseline is not None and self.baseline not in labels:
            raise ValueError(f'baseline is "{self.baseline}": {suggestion(self.baseline, labels)}'.rstrip("."))
        return self

    @model_validator(mode="after")
    def _tasks_of_methods(self) -> Self:
        tasks = [task.name for task in self.tasks]
        for entry in self.methods:
            for name in entry.tasks:
                if name not in tasks:
                    raise ValueError(f'{entry.called} names the task "{name}": {suggestion(name, tasks)}'.rstrip("."))
            if entry.tasks and entry.called == self.baseline_label:
                raise ValueError(f"{entry.called} is the baseline, which runs on every task: leave out its tasks")
        return self

    @property
    def baseline_label(self) -> str:
        """Label of the baseline."""
        return self.baseline or self.methods[0].called


def read_suite(name: str | Path) -> Suite:
    """A shipped suite by its name, or one of your own by the path of its file.

    Raises:
        ConfigError: There is none, or it holds what a suite cannot have; the message names the field.
    """
    shipped = shipped_suites()
    path = shipped.get(str(name), Path(name))
    if not path.exists():
        raise ConfigError(f'There is no suite "{name}": {suggestion(str(name), shipped)} Or name a YAML file.')
    return parse_suite(read_yaml(path), str(name))


def parse_suite(content: Mapping[str, Any], source: str) -> Suite:
    """A suite from its settings; ``source`` is what messages call them.

    Raises:
        ConfigError: As ``read_suite``.
    """
    try:
        return Suite.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_problem(error)}") from error


def shipped_suites() -> dict[str, Path]:
    """The files of the suites that come with Inarch, by name."""
    folder = Path(__file__).parent.parent / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _problem(error: ValidationError) -> str:
    # A misspelt name is told before the missing right one.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _sections().get(str(first["loc"][0]) if len(first["loc"]) > 1 else "", Suite)
        return f'unknown setting "{where}": {suggestion(str(first["loc"][-1]), known.model_fields)}'
    if first["type"] == "missing":
        return f"{where} is missing. Add it."
    reason = first["msg"].removeprefix("Value error, ")
    value = "" if isinstance(first["input"], Mapping) else f" is {first['input']!r}"
    return f"{where}{value}: {reason[0].lower()}{reason[1:]}." if where else f"{reason}."


def _sections() -> dict[str, type[BaseModel]]:
    return {"tasks": TaskEntry, "methods": MethodEntry, "tuning": TuningPlan, "published": PublishedRow}


def _require_once(names: list[str], problem: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f'{problem}: "{twice}"')


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
