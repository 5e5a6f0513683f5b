"""``inarch demo``: methods compared on real digits, without network or GPU, in under three minutes on two cores."""

import json as json_format
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import inarch
from inarch import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from inarch_benchmarks.embedded.experiment import Outcome, Progress

Output = Annotated[Path, typer.Option("--output", help="Folder for demo.json, accuracy.png and one adapter.")]
Seeds = Annotated[int, typer.Option("--seeds", help="How many seeds each method is run at, 1 to 10.")]
Quick = Annotated[bool, typer.Option("--quick", help="A few steps only: it shows that it runs, no more.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def demo(output: Output = Path("inarch-demo"), seeds: Seeds = 3, quick: Quick = False, json: Json = False) -> None:
    """Compare full, head, bitfit and lora on handwritten digits; no network, no GPU, under three minutes."""
    # Here, since torch, transformers and scikit-learn take seconds to import.
    from rich.console import Console

    from inarch_benchmarks.embedded.cache import cache_folder, require_writable
    from inarch_benchmarks.embedded.comparison import MOST_SEEDS
    from inarch_benchmarks.embedded.experiment import Experiment, perform, quick_experiment

    if not 1 <= seeds <= MOST_SEEDS:
        raise ConfigError(f"--seeds is {seeds}: it must be from 1 to {MOST_SEEDS}.")
    require_writable(output, "name another folder with --output")
    require_writable(cache_folder(), "name another folder in the environment variable INARCH_CACHE")
    errors = Console(stderr=True)
    experiment = quick_experiment(seeds) if quick else Experiment(seeds)
    errors.print(_introduction(seeds), highlight=False)
    with _progress(errors, experiment.work) as progress:
        outcome = perform(experiment, output, progress)
    document = _write(outcome, output)
    if json:
        typer.echo(json_format.dumps(document, indent=2))
    else:
        _print(outcome, output)


def _introduction(seeds: int) -> str:
    from inarch_benchmarks.embedded.digits import LABELLED

    return (
        f"A small vision transformer, pretrained on drawn glyphs, is adapted to {LABELLED} labelled handwritten digits "
        f"by each method at {_counted(seeds)}."
    )


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


@contextmanager
def _progress(console: "Console", work: int) -> "Iterator[Progress]":
    """A bar with the time left for all of the work; a line for each stage where the console is no terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        disable=not console.is_terminal,
    )
    row = bar.add_task("starting", total=work)

    def advance(stage: str, done: int) -> None:
        if not console.is_terminal and bar.tasks[row].description != stage:
            console.print(f"{stage} ...")
        bar.update(row, description=stage, advance=done)

    with bar:
        yield advance


def _write(outcome: "Outcome", output: Path) -> dict[str, Any]:
    """Write the figures and the picture, and return the figures."""
    from inarch_benchmarks.embedded.comparison import rows
    from inarch_benchmarks.embedded.digits import LABELLED
    from inarch_benchmarks.embedded.plot import save_plot

    document = outcome.to_dict()
    (output / "demo.json").write_text(json_format.dumps(document, indent=2), encoding="utf-8")
    warning = "QUICK RUN, MEANINGLESS; " if outcome.experiment.quick else ""
    setting = f"{LABELLED} labelled digits, {_counted(outcome.experiment.seeds)}; bars: standard deviation over seeds"
    save_plot(rows(outcome.runs), output / "accuracy.png", warning + setting)
    return document


def _print(outcome: "Outcome", output: Path) -> None:
    from rich.console import Console

    from inarch_benchmarks.embedded.comparison import CLAIM, claims, verdict

    console = Console()
    console.print(_table(outcome))
    lines = [
        _about_base(outcome),
        verdict(outcome.runs),
        *(claims(outcome.runs) or [f"Shown: {CLAIM}"]),
        _about_reload(outcome),
    ]
    if outcome.experiment.quick:
        lines.insert(0, "This was a quick run of a few steps: none of these figures means anything.")
    lines.append(f"{outcome.seconds:.0f} s in all. Figures: {output / 'demo.json'}. Plot: {output / 'accuracy.png'}.")
    for line in lines:
        console.print(f"\n{line}", highlight=False, markup=False)


def _table(outcome: "Outcome") -> Any:
    from rich.table import Table

    from inarch_benchmarks.embedded.comparison import rows

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("method")
    for column in ("trainable", "of base", "test accuracy", "s a run"):
        table.add_column(column, justify="right")
    for row in rows(outcome.runs):
        accuracy = f"{row.accuracy:.1%} ± {100 * row.spread:.1f}"
        table.add_row(row.contender, f"{row.trainable:,}", f"{row.share:.1%}", accuracy, f"{row.seconds:.1f}")
    return table


def _about_base(outcome: "Outcome") -> str:
    base = outcome.base
    happened = {
        "cached": "from the cache",
        "pretrained": "pretrained now",
        "rebuilt": "pretrained anew, since the cached one was damaged",
    }[base.origin]
    classes = outcome.experiment.pretraining.alphabet.classes
    right = base.record["held_out_accuracy"]
    return f"Base {base.fingerprint[:16]}, {happened}: {right:.0%} of held-out glyphs right among {classes} classes."


def _about_reload(outcome: "Outcome") -> str:
    reload = outcome.reload
    same = "the same accuracy" if reload["after"] == reload["before"] else "ANOTHER accuracy"
    sizes = f"{reload['bytes'] / 1000:.0f} kB; the base is {outcome.base.size / 1000:.0f} kB"
    return (
        f"LoRA of rank 8, saved ({sizes}) and loaded onto a fresh base, has {same}: {reload['after']:.1%}, "
        f"{reload['before']:.1%} before."
    )


@inarch.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Bring ``inarch demo``."""
    app.command("demo")(demo)
