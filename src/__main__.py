"""``python -m inarch`` is the command ``inarch``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
