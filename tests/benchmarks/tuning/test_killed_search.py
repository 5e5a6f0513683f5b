import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.thorough
def test_a_search_killed_at_any_line_of_its_journal_loses_and_doubles_nothing(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(done.stdout)
    whole = [case for case in found if not case["killed"]]
    killed = [case for case in found if case["killed"]]
    assert len(whole) == 3  # the last of each moment, when there was no such line any more
    assert len(killed) >= 3 * (2 + 2 * 5)  # the lock's trial, the study, and two lines for each of five trials
    expected = whole[0]["trials"]
    assert len(expected) == 5
    for case in killed:
        assert case["trials"] == expected
        assert case["seconds"] < 10.0  # Optuna's own lock would be waited for 30 seconds where its holder was killed
        made = [number for number, _ in case["made"]]
        assert sorted(set(made)) == list(range(5))
        assert len(made) <= 5 + 1  # one was made again if it was killed before it could be told
        assert all(settings == expected[number][0] for number, settings in case["made"])
