"""``inarch train``: an adapter from a YAML file."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Json, print_json, print_table

if TYPE_CHECKING:
    from ..training.run import RunResult

Config = Annotated[Path, typer.Argument(help="The run's YAML file. Paths in it are relative to it.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that lies in the output folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that lies in the output folder.")]


def train(config: Config, resume: Resume = False, overwrite: Overwrite = False, json: Json = False) -> None:
    """Train an adapter as a YAML file says."""
    from ..training.quiet import quiet_transformers

    with quiet_transformers():
        result = _watched(config, resume, overwrite)
    folder = result.folder
    if json:
        print_json({"run": str(folder.path), "metrics": result.metrics})
        return
    print_metrics(result.metrics)
    typer.echo(f"\nadapter  {folder.adapter}\ncurve    {folder.curve}\nagain    inarch eval {folder.path}")


def print_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    """A row for each split, a column for each number; then the confusion matrix of each."""
    first = next(iter(metrics.values()))
    names = [name for name, value in first.items() if isinstance(value, int | float)]
    rows = [(split, *(_shown(measured[name]) for name in names)) for split, measured in metrics.items()]
    print_table(("split", *names), rows)
    for split, measured in metrics.items():
        if "confusion_matrix" in measured:
            labels = measured["labels"]
            counts = zip(labels, measured["confusion_matrix"], strict=True)
            typer.echo()
            print_table((f"{split}: true \\ predicted", *labels), [(label, *map(str, row)) for label, row in counts])


def _watched(config: Path, resume: bool, overwrite: bool) -> "RunResult":
    """The run, with a progress bar on standard error."""
    # Here, since transformers' Trainer and what it brings take seconds to import.
    from rich.console import Console

    from ..training import run
    from ..training.arguments import best_metric
    from ..training.config import read_config
    from ..training.preparation import find_task
    from ..training.progress import ProgressBar

    settings = read_config(config)
    console = Console(stderr=True)
    bar = ProgressBar(console, best_metric(settings, find_task(settings.task)))
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    try:
        return run.train(settings, resume=resume, overwrite=overwrite, callbacks=[bar], say=say)
    finally:
        bar.close()


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"
