"""What trying has found of peft's methods, kept, since it takes long: ``python -m inarch_plugins.peft_bridge.record``.

The record holds for the versions that it was made with. With others each method is tried when it is asked for.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("record.json")


def supported(peft_type: str) -> Mapping[str, Any]:
    """What the method for one of peft's types supports; ``support.tried`` says what the entries mean."""
    record = _record()
    if record["versions"] == versions() and peft_type in record["methods"]:
        found: Mapping[str, Any] = record["methods"][peft_type]
        return found
    from .support import tried  # here, since trying takes long and only a listing asks

    return tried(peft_type)


def versions() -> dict[str, str]:
    """The versions of what is tried."""
    return {package: version(package) for package in ("peft", "bitsandbytes")}


@cache
def _record() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def main() -> None:
    """Try every method and write what was found."""
    from rich.progress import track

    from .library import configs
    from .support import tried

    found = {peft_type: tried(peft_type) for peft_type in track(configs(), "trying peft's methods")}
    RECORD.write_text(json.dumps({"versions": versions(), "methods": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
