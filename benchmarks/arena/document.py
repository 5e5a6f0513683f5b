"""The results as JSON and as a page: every cell with its reason, the refused and failed ones by reason."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from inarch_benchmarks.arena.arena import Row
from inarch_benchmarks.arena.cell import FAILED, MISSING, PASSED, REFUSED
from inarch_benchmarks.side_by_side import machine

OUTCOMES = (PASSED, REFUSED, FAILED, MISSING)


def document(rows: Sequence[Row], methods: Sequence[str], seconds: float) -> dict[str, Any]:
    """The results as JSON types."""
    return {
        "machine": machine(),
        "seconds": round(seconds, 1),
        "models": sum(not row.unbuilt for row in rows),
        "unbuilt": {row.entry.key: row.unbuilt for row in rows if row.unbuilt},
        "summary": summary(rows, methods),
        "rows": [row.to_dict() for row in rows if not row.unbuilt],
    }


def summary(rows: Sequence[Row], methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each method the number of cells of each outcome, the share refused, and the seconds."""
    told = {}
    for method in methods:
        cells = [row.cells[method] for row in rows if method in row.cells]
        outcomes = Counter(cell.outcome for cell in cells)
        told[method] = {
            **{outcome: outcomes[outcome] for outcome in OUTCOMES},
            "refused share": round(outcomes[REFUSED] / len(cells), 4) if cells else 0.0,
            "seconds": round(sum(cell.seconds for cell in cells), 1),
        }
    return told


def page(rows: Sequence[Row], methods: Sequence[str], seconds: float) -> str:
    """The results to read, in Markdown."""
    built = [row for row in rows if not row.unbuilt]
    lines = [
        "# The arena",
        "",
        f"{len(built)} architectures of transformers {machine()['transformers']} at tiny size, "
        f"{len(methods)} methods with their default targets, {seconds / 60:.0f} minutes, {machine()['date']}. "
        "Written by `python -m inarch_benchmarks.arena`.",
        "",
        f"| method | {' | '.join(OUTCOMES)} | refused share |",
        "|---|" + "---:|" * (len(OUTCOMES) + 1),
    ]
    for method, told in summary(rows, methods).items():
        counts = " | ".join(str(told[outcome]) for outcome in OUTCOMES)
        lines.append(f"| {method} | {counts} | {told['refused share']:.1%} |")
    for outcome in (FAILED, REFUSED):
        lines += [
            "",
            f"## {outcome.capitalize()}",
            "",
            "| method | cells | reason | architectures |",
            "|---|---:|---|---|",
        ]
        lines += [
            f"| {method} | {len(keys)} | {_cell(reason)} | {', '.join(keys)} |"
            for (method, reason), keys in by_reason(built, outcome).items()
        ]
    lines += ["", "## Not built", "", "| architecture | reason |", "|---|---|"]
    lines += [f"| {row.entry.key} | {_cell(row.unbuilt)} |" for row in rows if row.unbuilt]
    return "\n".join(lines) + "\n"


def by_reason(rows: Sequence[Row], outcome: str) -> dict[tuple[str, str], list[str]]:
    """The architectures of every method and reason of cells with this outcome, the most first."""
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        for method, cell in row.cells.items():
            if cell.outcome == outcome:
                grouped[method, kind_of(cell.reason)].append(row.entry.key)
    return dict(sorted(grouped.items(), key=lambda item: (item[0][0], -len(item[1]))))


def kind_of(reason: str) -> str:
    """A reason without what is particular to one model: numbers, names of modules, what was on offer."""
    reason = re.sub(r"(Available|did you mean).*", "", reason)
    reason = re.sub(r"\b[\w]+(\.\w+)+\b(?<!\.py)", "NAME", reason)
    reason = re.sub(r"(NAME(, | and \d+ more)?)+", "NAME ", reason)
    reason = re.sub(r"\d+(\.\d+)?(e-?\d+)?", "N", reason)
    return re.sub(r"\s+", " ", reason).strip(" :")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
