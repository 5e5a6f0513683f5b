import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from inarch_benchmarks.report import About, copies
from inarch_benchmarks.report.copies import made_by_copies
from inarch_benchmarks.report.sections import matter, sections

from made_up import findings

TESTS = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux alone")


def maker_of_pid(of: int) -> int:
    """Which process this is, if it was given what it should be."""
    assert of == 3
    return os.getpid()


def maker_that_dies(of: int) -> int:
    """Kills every process but the first, whose number it was given."""
    if os.getpid() != of:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def maker_that_fails(of: int) -> int:
    """Fails."""
    raise ZeroDivisionError(of)


def check() -> None:
    """What needs a process with one thread, which pytest's own may not have."""
    assert threading.active_count() == 1
    copies.processors = lambda: 2  # type: ignore[attr-defined]
    made = made_by_copies([maker_of_pid] * 8, 3)
    assert len(made) == 8
    assert 1 <= len(set(made)) <= 2
    assert os.getpid() not in made
    assert made_by_copies([maker_that_dies] * 3, os.getpid()) == [os.getpid()] * 3
    with pytest.raises(ZeroDivisionError, match="3"):
        made_by_copies([maker_that_fails] * 3, 3)
    told = matter(findings(tasks=1, methods=3), About("A suite", "", "inarch bench run suite", date="2026-11-22"))
    by_copies = sections(told)
    copies.processors = lambda: 1  # type: ignore[attr-defined]
    assert by_copies == sections(told)
    assert any(section.files for section in by_copies)
    print("checked")  # noqa: T201 - read by the test


def test_copies_make_what_one_process_makes() -> None:
    script = "from test_copies import check; check()"
    folders = os.pathsep.join([str(TESTS), str(Path(__file__).parent)])
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "checked", result.stderr


def test_nothing_is_copied_beside_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "processors", lambda: 2)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert made_by_copies([maker_of_pid] * 2, 3) == [os.getpid()] * 2
    finally:
        over.set()
        thread.join()
