"""``python -m inarch`` is the command ``inarch``."""

from .cli.main import run

if __name__ == "__main__":
    run()
