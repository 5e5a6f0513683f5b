from io import StringIO

import pytest
from rich.console import Console

from inarch_benchmarks.report import show
from inarch_benchmarks.report.place import places

from made_up import findings


@pytest.mark.parametrize("width", [80, 160])
def test_the_findings_are_shown_with_their_verdicts(width: int) -> None:
    found = findings(tasks=2, methods=6)
    out = StringIO()
    show(found, Console(file=out, width=width))
    text = " ".join(out.getvalue().split())
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for remark in found.remarks:
        assert remark in text
    for place in places(found):
        assert f"{place.rows[0].score.mean:.3f}" in text if place.rows[0].score else True
    assert ("8.91 MB" in text or "MB" in text) == (width == 160)
    assert "indistinguishable" in text
    assert "worse" in text


def test_rows_stand_in_the_order_of_their_scores() -> None:
    found = findings(tasks=1, methods=6)
    out = StringIO()
    show(found, Console(file=out, width=200))
    lines = out.getvalue().splitlines()
    at = [
        next(i for i, line in enumerate(lines) if line.startswith(f"{row.entry.contender} "))
        for row in places(found)[0].rows
    ]
    assert at == sorted(at)
