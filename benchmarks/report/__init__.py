"""The report of a suite: one page that stands alone, its pictures as PNG and SVG, and the same in a terminal."""

from inarch_benchmarks.report.about import About
from inarch_benchmarks.report.document import findings_json
from inarch_benchmarks.report.terminal import show
from inarch_benchmarks.report.write import write_report

__all__ = ["About", "findings_json", "show", "write_report"]
