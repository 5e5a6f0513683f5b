"""The plan of a suite: its cells, kept in the store so that a report needs no base model."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from inarch import ConfigError
from inarch_benchmarks.comparison.cell import Cell
from inarch_benchmarks.comparison.files import write_whole
from inarch_benchmarks.comparison.suite import Suite


class Plan(BaseModel):
    """A suite with its cells.

    Attributes:
        suite: The suite.
        source: What it was called on the command line.
        cells: Task by task.
        refused: What could not be put on a model, in one sentence each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: Suite
    source: str
    cells: tuple[Cell, ...]
    refused: tuple[str, ...] = ()

    def places(self) -> dict[tuple[str, str], list[Cell]]:
        """The cells by task and model."""
        found: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            found.setdefault((cell.task, cell.model), []).append(cell)
        return found


def keep_plan(plan: Plan, store: Path) -> None:
    """Write a plan into a store, in the place of an earlier one of its suite."""
    text = json.dumps(plan.model_dump(mode="json"), indent=1)
    write_whole(_path(plan.suite.name, store), text.encode())


def kept_plan(suite: str, store: Path) -> Plan:
    """The plan of a suite by its name.

    Raises:
        ConfigError: The store has none; the message names those that it has.
    """
    path = _path(suite, store)
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        there = ", ".join(sorted(each.stem for each in path.parent.glob("*.json"))) or "none"
        raise ConfigError(
            f'{store} has no runs of the suite "{suite}"; it has: {there}. Run it first: inarch bench run {suite}.'
        ) from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no plan of a suite that this version knows: run the suite again.") from error


def _path(suite: str, store: Path) -> Path:
    return store / "suites" / f"{suite}.json"
