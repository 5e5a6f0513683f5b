"""The sections of the page, one function each, in the order in which they are read."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from inarch_benchmarks.analysis.findings import Findings, Summary
from inarch_benchmarks.report import words
from inarch_benchmarks.report.about import About
from inarch_benchmarks.report.chart import Chart
from inarch_benchmarks.report.columns import used_columns
from inarch_benchmarks.report.copies import made_by_copies
from inarch_benchmarks.report.curves import curves
from inarch_benchmarks.report.differences import compared
from inarch_benchmarks.report.figures import figures
from inarch_benchmarks.report.forgetting import forgetting
from inarch_benchmarks.report.headline import headline, overall
from inarch_benchmarks.report.heat import heat
from inarch_benchmarks.report.picture import load_matplotlib, pictures
from inarch_benchmarks.report.place import Place, places
from inarch_benchmarks.report.provenance import dates, failures, machines, origins, ran, revisions, software
from inarch_benchmarks.report.scatter import COSTS, scatter
from inarch_benchmarks.report.sheet import sheet
from inarch_benchmarks.report.slices import slices
from inarch_benchmarks.report.theme import VARIABLES
from inarch_benchmarks.report.trials import trials

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Matter:
    """What sections are made of."""

    findings: Findings
    about: About
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id.
        short: What it is called in the list of sections.
        title: Its heading.
        body: Its content.
        files: Its chart as files, by their names.
    """

    anchor: str
    short: str
    title: str
    body: Markup
    files: dict[str, bytes] = field(default_factory=dict)


def matter(findings: Findings, about: About) -> Matter:
    """Everything that sections are made of."""
    return Matter(findings, about, places(findings))


def sections(told: Matter) -> list[Section]:
    """All sections that have something to show."""
    load_matplotlib()
    return [section for section in made_by_copies(ORDER, told) if section is not None]


def render(template: str, **values: Any) -> Markup:
    """A template of this folder, filled."""
    return Markup(_environment().get_template(template).render(**values))


def summary(told: Matter) -> Section:
    """What can be said, and what must be known first."""
    body = render(
        "summary.html",
        overall=overall(told.findings),
        headlines=[headline(place) for place in told.places],
        remarks=told.findings.remarks,
    )
    return Section("summary", "Findings", "What can be said", body)


def parameters(told: Matter) -> Section | None:
    """Score against trained parameters."""
    return _charted(scatter(told.places, COSTS[0], told.about))


def memory(told: Matter) -> Section | None:
    """Score against memory."""
    return _charted(scatter(told.places, COSTS[1], told.about))


def time(told: Matter) -> Section | None:
    """Score against time."""
    return _charted(scatter(told.places, COSTS[2], told.about))


def heat_map(told: Matter) -> Section | None:
    """Methods by task, and what they add up to."""
    section = _charted(heat(told.findings, told.places))
    if section is None:
        return None
    body = section.body + render("overall.html", summaries=sorted(told.findings.summaries, key=_worth))
    return replace(section, body=body)


def table(told: Matter) -> Section:
    """Every figure of every row."""
    rows = [row for place in told.places for row in place.rows]
    columns = used_columns(rows)
    known = [
        (place, row, [column.cell(row, found) for column in columns])
        for place in told.places
        for row in place.rows
        for found in [figures(row)]
    ]
    body = render("table.html", columns=columns, rows=known, places=told.places)
    return Section("figures", "Table", "All figures", body)


def differences(told: Matter) -> Section | None:
    """What differs from what."""
    if not told.findings.differences:
        return None
    body = render("differences.html", places=[(place, compared(place)) for place in told.places if place.differences])
    return Section("differences", "Differences", "Differences", body)


def learning(told: Matter) -> Section | None:
    """Learning curves."""
    return _charted(curves(told.findings, told.places))


def tuning(told: Matter) -> Section | None:
    """Tuning curves."""
    return _charted(trials(told.places))


def forgotten(told: Matter) -> Section | None:
    """Forgetting."""
    return _charted(forgetting(told.places))


def parts(told: Matter) -> Section | None:
    """Slices of the test data."""
    known = [(place, *slices(place)) for place in told.places]
    if not any(names for _, names, _ in known):
        return None
    return Section(
        "slices", "Parts", "Parts of the test data", render("slices.html", places=[one for one in known if one[1]])
    )


def failed(told: Matter) -> Section | None:
    """Runs that did not finish."""
    found = failures(told.places)
    return (
        Section("failures", "Failures", "Runs that did not finish", render("failures.html", failures=found))
        if found
        else None
    )


def published(told: Matter) -> Section | None:
    """Figures of papers."""
    if not told.about.published:
        return None
    return Section("published", "Published", "Published figures", render("published.html", rows=told.about.published))


def notes(told: Matter) -> Section | None:
    """What these figures cannot say."""
    if not told.about.notes:
        return None
    return Section("limits", "Limits", "What these figures cannot say", render("notes.html", notes=told.about.notes))


def provenance(told: Matter) -> Section:
    """Where the figures come from, and what repeats them."""
    letters, versions = software(told.findings)
    body = render(
        "provenance.html",
        command=told.about.command,
        letters=letters,
        versions=versions,
        machines=machines(told.places),
        revisions=revisions(told.places),
        dates=dates(told.places),
        origins=origins(told.places),
        ran=ran(told.places),
    )
    return Section("provenance", "Provenance", "Provenance", body)


ORDER: tuple[Callable[[Matter], Section | None], ...] = (
    summary, notes, parameters, heat_map, differences, table, memory, time, learning, tuning, forgotten, parts, failed,
    published, provenance,
)  # fmt: skip


def _worth(summary: Summary) -> tuple[bool, float]:
    return summary.gap is None, -(summary.gap.mean if summary.gap else summary.score or 0.0)


def _charted(chart: Chart | None) -> Section | None:
    if chart is None:
        return None
    drawn = pictures(chart)
    body = render("chart.html", chart=chart, pictures=drawn)
    return Section(chart.name, chart.short, chart.title, body, sheet(chart, drawn))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number, "interval": words.interval, "share": words.share, "count": words.count,
        "ends": words.ends,
    }  # fmt: skip
    environment.globals["variables"] = VARIABLES
    return environment
