"""``inarch eval``: the metrics of a run, measured again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Json, print_json
from .train import print_metrics

if TYPE_CHECKING:
    from ..training.evaluation import Evaluation

Run = Annotated[Path, typer.Argument(help="The run folder that `inarch train` made.")]
Data = Annotated[Path | None, typer.Option(help="Another file to measure on, with the run's columns.")]


def evaluate(run: Run, data: Data = None, json: Json = False) -> None:
    """Load the adapter of a run again, measure it, and compare with what the run reported."""
    from ..training.quiet import quiet_transformers

    with quiet_transformers():
        from ..training import evaluation

        result = evaluation.evaluate(run, data)
    if json:
        print_json(_as_json(result))
        return
    print_metrics(result.metrics)
    for line in _verdict(result):
        typer.echo(line)


def _as_json(result: "Evaluation") -> dict[str, Any]:
    return {
        "metrics": result.metrics,
        "reproduced": result.reproduced,
        "differences": result.differences,
        "changed_data": list(result.changed),
    }


def _verdict(result: "Evaluation") -> list[str]:
    lines = [f"The {split} data have changed since the run: not compared." for split in result.changed]
    if result.reproduced:
        lines.append("Every metric is exactly the one that the run reported.")
    for split, differences in result.differences.items():
        for name, (recorded, measured) in differences.items():
            lines.append(f"{split} {name}: the run reported {recorded}, measured now {measured}.")
    return lines
