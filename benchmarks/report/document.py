"""The findings as JSON."""

import json
from dataclasses import asdict
from math import isfinite
from typing import Any

from inarch_benchmarks.analysis.findings import Findings, Row
from inarch_benchmarks.report.figures import figures


def findings_json(findings: Findings) -> str:
    """The findings as JSON: every figure of the report, and the ids of the runs that it comes from."""
    told = {
        "suite": findings.suite,
        "remarks": findings.remarks,
        "rows": [_row(row) for row in findings.rows],
        "differences": [asdict(found) for found in findings.differences],
        "summaries": [asdict(summary) for summary in findings.summaries],
        "stacks": findings.stacks,
    }
    return json.dumps(_strict(told), indent=1) + "\n"


def _row(row: Row) -> dict[str, Any]:
    entry = row.entry
    names = ("contender", "method", "kind", "task", "model", "metric", "chance", "budget", "tuned", "edge", "seeds")
    return {
        **{name: getattr(entry, name) for name in names},
        "score": asdict(row.score) if row.score else None,
        "gap": asdict(row.gap) if row.gap else None,
        "front": row.front,
        "failures": row.failures,
        "stack": row.stack,
        "figures": asdict(figures(row)),
        "timing": entry.timing,
        "trials": [asdict(trial) for trial in entry.trials],
        "runs": {str(record.specification.seed): record.id for record in entry.records},
    }


def _strict(value: Any) -> Any:
    """The same without what JSON has no word for: a number that is none becomes null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(inner) for inner in value]
    return value
