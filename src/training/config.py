"""The configuration of a run: what ``run.yaml`` may hold."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..adapters.quantisation import require_kind
from ..engine.memory_size import memory_size
from ..errors import ConfigError, UnknownNameError
from .yaml_file import read_yaml


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Where the examples are and which columns hold what.

    Attributes:
        train: A CSV, TSV, JSONL, JSON or Parquet file; with ``dataset``, the name of a split.
        validation: Likewise, or the share of ``train`` to hold out, stratified by label and drawn by the run's seed.
        test: Likewise; measured once, at the end.
        dataset: The id of a dataset on the Hugging Face hub.
        subset: The dataset's configuration, such as ``sst2`` of ``glue``.
        text: The column that holds the text, or two columns for a pair of texts.
        label: The column that holds the label.
        max_length: The most tokens of an example; the model's limit where none is given.
    """

    train: str
    validation: Annotated[float, Field(gt=0, lt=1)] | str = 0.1
    test: str | None = None
    dataset: str | None = None
    subset: str | None = None
    text: Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1, max_length=2)] = ("text",)
    label: str = "label"
    max_length: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _subset_of_a_dataset(self) -> Self:
        if self.subset is not None and self.dataset is None:
            raise ValueError("subset names a part of a hub dataset: give the dataset too, or take subset out")
        return self

    def relative_to(self, folder: Path) -> Self:
        """The same with its files found from ``folder``."""
        if self.dataset is not None:
            return self
        files = {name: getattr(self, name) for name in ("train", "validation", "test")}
        return self.model_copy(
            update={name: str(_absolute(file, folder)) for name, file in files.items() if isinstance(file, str)}
        )


class MethodConfig(BaseModel):
    """A method's name; every other key is one of its settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """What is set for the method, by name."""
        return dict(self.model_extra or {})


class EarlyStopping(_Section):
    """When to stop before the last epoch.

    Attributes:
        patience: How many evaluations in a row may pass without a better ``metric``.
        metric: What is watched, and chooses the best adapter; the task's own where none is given.
        threshold: The least improvement that counts.
    """

    patience: Annotated[int, Field(gt=0)]
    metric: str | None = None
    threshold: Annotated[float, Field(ge=0)] = 0.0


class RunConfig(_Section):
    """A whole run.

    Paths in a config file are relative to that file, not to the folder the command is called in.

    Attributes:
        model: A model id on the Hugging Face hub, or a local folder.
        task: A registered task.
        quant: What the model's large linear maps are loaded in: ``nf4``, ``fp4`` or ``int8``; floating point, where it
            is left out.
        memory: What training may take: ``24GB``, ``24GiB``, or ``80%`` of the device. The fastest checkpointing that
            fits is planned; none, where it is left out.
        data: The examples.
        method: The method and its settings.
        training: Names and values of ``transformers.TrainingArguments``.
        early_stopping: When to stop early; never, where it is left out.
        seed: Draws the new weights, the held-out share, the order of the examples and the dropout.
        engine: Whether to compute by the engine, which leaves out whatever would change results.
        output: The run folder, which must not exist yet.
    """

    model: str
    task: str = "text-classification"
    quant: str | None = None
    memory: str | None = None
    data: DataConfig
    method: MethodConfig
    training: dict[str, Any] = {}
    early_stopping: EarlyStopping | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    engine: bool = True
    output: Path

    @field_validator("quant")
    @classmethod
    def _known_kind(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                require_kind(value)
        except UnknownNameError as error:
            raise ValueError(str(error).rstrip(".")) from error
        return value

    @field_validator("memory", mode="before")
    @classmethod
    def _a_size(cls, value: Any) -> str | None:
        try:
            if value is not None:
                memory_size(value)
        except ConfigError as error:
            raise ValueError(str(error).removeprefix(f"memory is {value!r}: ").rstrip(".")) from error
        return None if value is None else str(value)

    @field_validator("training", mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _one_plan_of_memory(self) -> Self:
        if self.memory is not None and not self.engine:
            raise ValueError("memory is planned by the engine: take engine: false out, or memory")
        if self.memory is not None and self.training.get("gradient_checkpointing"):
            raise ValueError(
                "memory plans what is checkpointed, and training.gradient_checkpointing checkpoints everything: "
                "take one of them out"
            )
        return self

    def relative_to(self, folder: Path) -> Self:
        """The same with every path found from ``folder``."""
        model = _absolute(self.model, folder)
        update = {
            "model": str(model) if model.exists() or _looks_like_a_path(self.model) else self.model,
            "data": self.data.relative_to(folder),
            "output": _absolute(self.output, folder),
        }
        return self.model_copy(update=update)

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON types; ``parse_config`` turns them back into an equal one."""
        return self.model_dump(mode="json")


def read_config(path: Path) -> RunConfig:
    """The run that a YAML file describes, its paths resolved from the file's own folder.

    Raises:
        ConfigError: The file cannot be read, or holds what a run cannot have; the message names the field.
    """
    return parse_config(read_yaml(path), source=str(path)).relative_to(path.absolute().parent)


def parse_config(content: Mapping[str, Any], source: str = "the config") -> RunConfig:
    """A run from its settings; ``source`` is what error messages call them.

    Raises:
        ConfigError: An unknown or missing setting, or a value that cannot be.
    """
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_problem(error)}") from error


def _absolute(path: str | Path, folder: Path) -> Path:
    return Path(os.path.normpath(folder / Path(path).expanduser()))


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~"))


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    # A union reports one problem for each of its types, with the type's name at the end of the place.
    place = [str(part) for part in first["loc"] if str(part) in _known_fields() or part == first["loc"][0]]
    unknown = first["type"] == "extra_forbidden"
    field = ".".join(str(part) for part in first["loc"]) if unknown else ".".join(place)
    if unknown:
        return f'unknown setting "{field}"{_did_you_mean(str(first["loc"][-1]), first["loc"][:-1])}'
    if first["type"] == "missing":
        return f"{field} is missing. Add it."
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # of several fields together
        return f"{reason}."
    return f"{field} is {first['input']!r}: {reason[0].lower()}{reason[1:]}."


def _known_fields() -> set[str]:
    return {name for section in (RunConfig, DataConfig, EarlyStopping, MethodConfig) for name in section.model_fields}


def _did_you_mean(wrong: str, section: tuple[int | str, ...]) -> str:
    sections: dict[str, type[BaseModel]] = {"data": DataConfig, "early_stopping": EarlyStopping}
    known = sorted((sections[str(section[0])] if section else RunConfig).model_fields)
    close = get_close_matches(wrong, known, n=1)
    guess = f' Did you mean "{close[0]}"?' if close else ""
    return f".{guess} Known: {', '.join(known)}."
