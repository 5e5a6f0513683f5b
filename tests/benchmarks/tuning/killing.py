"""Searches that are killed at each line of their journal, in forks of this process; run by test_killed_search.py."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from inarch_benchmarks.tuning import Search, Space, open_journal
from inarch_benchmarks.tuning.journal import KernelLock

SPACE = Space({"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3), "alpha": (4, 8, 16)}, 5, {"alpha": 8})


def perform(folder: Path) -> None:
    """Make every trial that is left, noting each before it is told."""
    search = Search("cell", SPACE, open_journal(folder / "journal"))
    while not search.done:
        for proposal in search.ask():
            with (folder / "made").open("a") as file:
                file.write(json.dumps([proposal.number, proposal.settings]) + "\n")
            score = None if proposal.number == 2 else -abs(proposal.settings["learning_rate"] - 3e-4)
            search.tell(proposal, score)


def killed_at(line: int, moment: str, folder: Path) -> None:
    """Perform until the journal is locked for that line, then die."""
    acquire, release, count = KernelLock.acquire, KernelLock.release, iter(range(10**6))

    def dying_acquire(self: KernelLock) -> bool:
        self.dies = next(count) == line  # type: ignore[attr-defined]
        acquire(self)
        if self.dies and moment != "after":  # type: ignore[attr-defined]
            if moment == "amid":
                with (folder / "journal").open("ab") as file:
                    file.write(b'{"op_code": 4, "study_')
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def dying_release(self: KernelLock) -> None:
        if self.dies:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        release(self)

    KernelLock.acquire, KernelLock.release = dying_acquire, dying_release  # type: ignore[method-assign]
    perform(folder)


def main(root: Path) -> None:
    """For each line and moment, the trials of the journal and all that were made."""
    found = []
    for moment in ("before", "amid", "after"):
        for line in range(10**6):
            folder = root / f"{moment}-{line}"
            folder.mkdir()
            if (child := os.fork()) == 0:
                killed_at(line, moment, folder)
                os._exit(0)
            killed = os.waitpid(child, 0)[1] == signal.SIGKILL
            begin = time.monotonic()
            perform(folder)
            seconds = time.monotonic() - begin
            trials = Search("cell", SPACE, open_journal(folder / "journal")).trials
            made = [json.loads(text) for text in (folder / "made").read_text().splitlines()]
            found.append(
                {"killed": killed, "seconds": seconds, "trials": [[t.settings, t.score] for t in trials], "made": made}
            )
            if not killed:
                break
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
