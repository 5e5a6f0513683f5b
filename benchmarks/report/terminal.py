"""The findings in a terminal: a table a task, the best first, with verdicts."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from inarch_benchmarks.analysis.findings import Findings, Row
from inarch_benchmarks.report.figures import figures
from inarch_benchmarks.report.headline import headline, overall
from inarch_benchmarks.report.place import Place, places
from inarch_benchmarks.report.words import count, interval, seconds, share, size

WIDE = ("gap", "front", "memory", "step")
"""Columns that there is room for from ``ROOMY`` letters on."""

ROOMY = 110

STYLES = {"better": "green", "worse": "red", "indistinguishable": "yellow", "too few seeds": "dim"}


def show(findings: Findings, console: Console | None = None) -> None:
    """Print the findings: what must be known first, then a table for each task and what it says.

    Args:
        findings: What is shown.
        console: Where; standard output by default.
    """
    console = console or Console()
    for remark in findings.remarks:
        console.print(Text(f"! {remark}", "yellow"))
    for place in places(findings):
        console.print()
        console.print(_table(place, wide=console.width >= ROOMY))
        for sentence in headline(place).sentences:
            console.print(Text(sentence))
    told = overall(findings)
    if told:
        console.print()
        console.print(Text(told))


def _table(place: Place, *, wide: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, title=Text(place.label, "bold"), title_justify="left")
    others = list(dict.fromkeys(found.other for found in place.differences))
    table.add_column("contender", overflow="fold", min_width=12)
    for name in (place.metric, "trained", *(WIDE if wide else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for other in others:
        table.add_column(Text(f"vs {other}"), overflow="fold", min_width=len("indistin-"))
    table.add_column("marks", overflow="fold", min_width=4)
    for row in place.rows:
        found = figures(row)
        table.add_row(
            Text(row.entry.contender, "" if row.entry.kind == "method" else "dim"),
            interval(row.score),
            count(found.trainable),
            *(_further(row) if wide else ()),
            *(_verdict(row, other, place) for other in others),
            Text(", ".join(_marks(row))),
        )
    return table


def _further(row: Row) -> tuple[str, ...]:
    found = figures(row)
    front = share(row.front) if row.entry.kind == "method" else ""
    return share(row.gap.mean if row.gap else None), front, size(found.memory["total"]), seconds(found.step)


def _verdict(row: Row, other: str, place: Place) -> Text:
    for found in place.differences:
        if (found.one, found.other) == (row.entry.contender, other):
            return Text(found.verdict, STYLES[found.verdict])
    return Text("")


def _marks(row: Row) -> list[str]:
    marks = []
    if row.entry.edge:
        marks.append("edge")
    if row.failures:
        marks.append(f"{row.failures} failed")
    if figures(row).contended:
        marks.append("contended")
    return marks
