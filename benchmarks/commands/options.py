"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = Path("inarch-bench")

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A shipped suite, or the path of a YAML file.")]
Store = Annotated[Path, typer.Option("--store", help="Folder of the runs, one JSON file each.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
