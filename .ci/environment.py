"""Sets up .venv with this repository and its pinned dependencies, from nothing but Python; says what it is doing."""

import argparse
import hashlib
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
DECIDING = ("pyproject.toml", "setup.py", "constraints.txt")
OLDEST = (3, 11)
WIDTH = 30


def main() -> int:
    """Make the environment unless it is there and still what the repository asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", default="", help="an optional group of dependencies, such as dev")
    extra = parser.parse_args().extra
    if sys.version_info[:2] < OLDEST:
        needed, here = ".".join(map(str, OLDEST)), sys.version.split()[0]
        print(f"Python {needed} or later is needed, and this is {here}: name another with make PYTHON=...")
        return 2
    stamp = FOLDER / f"stamp-{extra or 'plain'}"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    started = time.monotonic()
    print(f"Setting up {FOLDER.name} (Python {sys.version.split()[0]}); some minutes the first time.")
    if not (FOLDER / "bin" / "python").exists():
        venv.create(FOLDER, with_pip=True, clear=True)
    code = install(extra)
    if code == 0:
        stamp.write_text(wanted)
        print(f"Ready after {time.monotonic() - started:.0f} s.")
    return code


def fingerprint() -> str:
    """Changes when anything changes that decides what is installed."""
    digest = hashlib.sha256(sys.version.encode())
    for name in DECIDING:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def install(extra: str) -> int:
    """Install torch first, at its pinned version, so that nothing else chooses one; then the rest."""
    constraints = ["-c", str(ROOT / "constraints.txt")]
    pins = [line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    package = f"{ROOT}[{extra}]" if extra else str(ROOT)
    bar = Bar(len(pins))
    for arguments in (["torch"], ["-e", package]):
        code = pip(["install", *constraints, *arguments], bar)
        if code:
            return code
    bar.close()
    return 0


def pip(arguments: list[str], bar: "Bar") -> int:
    """Run pip, and show on the bar which package it is at; what pip said is shown when it fails."""
    command = [str(FOLDER / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            bar.follow(line)
    if process.returncode:
        print("\n" + "".join(said[-30:]), file=sys.stderr)
    return process.returncode


class Bar:
    """A bar that counts the packages pip has met, of those that are pinned."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.met: set[str] = set()
        self.started = time.monotonic()

    def follow(self, line: str) -> None:
        """Take one line of what pip says."""
        words = line.split()
        if line.startswith(("Collecting", "Requirement already satisfied:")):
            self.met.add(words[-1] if line.startswith("Collecting") else words[3])
            self.draw(" ".join(words[:2]))
        elif line.startswith("Installing collected packages"):
            self.draw("installing the packages", now=True)

    def draw(self, doing: str, now: bool = False) -> None:
        """Draw the bar; where nobody watches, a line for every twenty packages, or ``now``."""
        share = min(len(self.met) / self.total, 0.99)
        filled = "#" * round(WIDTH * share)
        line = f"[{filled:-<{WIDTH}}] {share:4.0%}  {time.monotonic() - self.started:4.0f} s  {doing}"
        if sys.stdout.isatty():
            print(f"\r{line:<100.100}", end="", flush=True)
        elif now or len(self.met) % 20 == 1:
            print(line, flush=True)

    def close(self) -> None:
        """End the line."""
        if sys.stdout.isatty():
            print()


if __name__ == "__main__":
    sys.exit(main())
