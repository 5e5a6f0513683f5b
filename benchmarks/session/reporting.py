"""From a plan and its store to a report."""

from pathlib import Path

from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.find import find
from inarch_benchmarks.analysis.findings import Findings
from inarch_benchmarks.analysis.grim import Reported, check_table
from inarch_benchmarks.comparison import surroundings
from inarch_benchmarks.comparison.contender import contenders
from inarch_benchmarks.comparison.store import RunStore
from inarch_benchmarks.comparison.suite import Suite
from inarch_benchmarks.report.about import About
from inarch_benchmarks.report.write import write_report
from inarch_benchmarks.session.plan import Plan
from inarch_benchmarks.session.session import works


def entries(plan: Plan, store: Path) -> list[Entry]:
    """What the store has of each cell of a plan."""
    return [work.entry() for work in works(plan, RunStore(store))]


def report_plan(plan: Plan, store: Path, output: Path | None) -> tuple[Findings, Path]:
    """Write the report of a plan.

    Args:
        plan: What was run.
        store: Where its runs are.
        output: Folder of the report; one in the store by default.

    Returns:
        The findings, and the folder.
    """
    suite = plan.suite
    folder = output or store / "reports" / suite.name
    findings = find(suite.name, entries(plan, store), baseline(suite))
    write_report(findings, _about(plan), folder)
    return findings, folder


def baseline(suite: Suite) -> str:
    """Label of the contender that the others are compared with; of several budgets, at the first."""
    return next(
        each.label
        for each in contenders(suite)
        if each.kind == "method" and each.label.startswith(suite.baseline_label)
    )


def _about(plan: Plan) -> About:
    suite = plan.suite
    return About(
        title=f"The comparison {suite.name}",
        description=suite.about.strip(),
        command=f"inarch bench run {plan.source}",
        notes=(*suite.notes, *plan.refused, *_impossible(suite)),
        date=surroundings.now(),
        published=suite.published,
    )


def _impossible(suite: Suite) -> list[str]:
    """What the GRIM test says of the published figures that are means over items."""
    reported = [
        Reported(row.label, row.task, str(row.score), row.items) for row in suite.published if row.items is not None
    ]
    return check_table(reported)
