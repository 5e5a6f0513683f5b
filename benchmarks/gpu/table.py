"""The table of kernels and features in benchmarks/results/README.md: ``python -m inarch_benchmarks.gpu.table``.

A line for every kernel and feature: what it was predicted to gain, what it did, kept or dropped. What was not measured
says so; a rehearsal measures nothing.
"""

import json
from pathlib import Path
from typing import Any

from .features import Line, every_line

FOLDER = Path(__file__).parent.parent / "results"
BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"


def table(document: dict[str, Any] | None) -> str:
    """The table in Markdown.

    Args:
        document: The results of the features stage, where there are any.
    """
    rows = [
        f"| {line.kind} | {line.name} | {line.predicted} | {' | '.join(verdict(line, document))} |"
        for line in every_line()
    ]
    head = "| | what | predicted | measured | |"
    where = ""
    if document and document["runs"]:
        machine = document["runs"][-1]
        where = f"{machine.get('gpu')}, {machine['date']}, torch {machine['torch']}.\n\n"
    return where + "\n".join([head, "|---|---|---|---|---|", *rows])


def verdict(line: Line, document: dict[str, Any] | None) -> tuple[str, str]:
    """What was measured of a line, and whether it is kept."""
    if line.on_a_cpu:
        return line.on_a_cpu, "kept" if line.kept else "dropped"
    found = (document or {"cells": {}})["cells"].get(f"{line.kind}/{line.name}")
    if found is None:
        return "not run", "kept until measured"
    if found["status"] != "done":
        return f"{found['status']}: {found.get('reason', '')}".replace("|", "/").replace("\n", " ")[
            :200
        ], "kept until measured"
    memory = f", {found['memory_gain']:.2f}x in memory" if "memory_gain" in found else ""
    return f"{found['gain']:.2f}x {found['against']}{memory}", "kept" if found["kept"] else "dropped"


def rewritten(readme: str, document: dict[str, Any] | None) -> str:
    """The README of the results with the table as it is now."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table(document)}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Rewrite the README of the results."""
    results, readme = FOLDER / "gpu_features.json", FOLDER / "README.md"
    document = json.loads(results.read_text()) if results.exists() else None
    if document and document["rehearsed"]:
        raise SystemExit(f"{results} is of a rehearsal, which measures nothing: remove it.")
    readme.write_text(rewritten(readme.read_text(), document))


if __name__ == "__main__":
    main()
