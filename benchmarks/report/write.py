"""The report is written: the page, its pictures, and the findings as JSON."""

from pathlib import Path

from markupsafe import Markup

from inarch_benchmarks.analysis.findings import Findings
from inarch_benchmarks.comparison.files import write_whole
from inarch_benchmarks.comparison.garbage import kept
from inarch_benchmarks.report.about import About
from inarch_benchmarks.report.document import findings_json
from inarch_benchmarks.report.sections import TEMPLATES, matter, render, sections


def write_report(findings: Findings, about: About, folder: Path) -> None:
    """Write ``report.html``, which stands alone, ``findings.json``, and each chart as PNG and SVG.

    Args:
        findings: What is reported.
        about: What is said beside it.
        folder: Where it goes; made if need be.

    Raises:
        StoreError: A file cannot be written.
    """
    with kept():
        _write(findings, about, folder)


def _write(findings: Findings, about: About, folder: Path) -> None:
    parts = sections(matter(findings, about))
    page = render(
        "page.html",
        about=about,
        suite=findings.suite,
        sections=parts,
        style=_asset("style.css"),
        script=_asset("script.js"),
    )
    write_whole(folder / "report.html", page.encode())
    write_whole(folder / "findings.json", findings_json(findings).encode())
    for section in parts:
        for name, content in section.files.items():
            write_whole(folder / name, content)


def _asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
