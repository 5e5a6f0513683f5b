"""Numbers as a reader wants them; what is not known is a dash."""

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10
from typing import Any

from inarch_benchmarks.analysis.findings import Interval

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


def number(value: float | None, digits: int = 3) -> str:
    """A score: three decimals, or four significant digits where it is ten and more."""
    if value is None or not isfinite(value):
        return NOTHING
    decimals = digits if abs(value) < 10 else max(0, digits - floor(log10(abs(value))))
    return _minus(f"{value:.{decimals}f}")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, with its sign."""
    return f"+{number(value, digits)}" if value is not None and value > 0 else number(value, digits)


def interval(found: Interval | None) -> str:
    """A mean and its interval: ``0.859 [0.841, 0.877]``."""
    if found is None:
        return NOTHING
    return f"{number(found.mean)} {ends(found)}".strip()


def ends(found: Interval | None) -> str:
    """The interval alone: ``[0.841, 0.877]``; nothing where there is none."""
    if found is None or found.kind == "none" or not (isfinite(found.low) and isfinite(found.high)):
        return ""
    return f"[{number(found.low)}, {number(found.high)}]"


def count(value: float | None) -> str:
    """A whole number in groups of three."""
    return NOTHING if value is None else _minus(f"{value:,.0f}").replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(value: float | None) -> str:
    """Bytes: ``5.2 MB``, in powers of ten."""
    return _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB"))


def seconds(value: float | None) -> str:
    """A time: ``12.3 ms``."""
    if value is None or not isfinite(value):
        return NOTHING
    return _scaled(value * 1e6, 1000, ("µs", "ms", "s")) if value < 1000 else f"{value / 3600:.1f} h"


def share(value: float | None, digits: int = 0) -> str:
    """A share as a percentage."""
    if value is None or not isfinite(value):
        return NOTHING
    return _minus(f"{value:.{digits}%}").replace("%", f"{SPACE}%")


def probability(value: float | None) -> str:
    """A p value: as many digits as mean something."""
    if value is None or not isfinite(value):
        return NOTHING
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def listed(names: Sequence[str], shown: int = 6) -> str:
    """``a, b and c``, or the first few and how many more there are."""
    if len(names) > shown:
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def plain(value: Any) -> str:
    """A setting: floats in short, lists with commas."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return str(value)


def settings(values: Iterable[tuple[str, Any]]) -> str:
    """Settings in a line: ``learning_rate 0.001, rank 8``."""
    return ", ".join(f"{name} {plain(value)}" for name, value in values)


def _scaled(value: float | None, base: int, units: Sequence[str]) -> str:
    if value is None or not isfinite(value):
        return NOTHING
    power = 0
    while abs(value) >= base and power < len(units) - 1:
        value, power = value / base, power + 1
    return f"{value:.3g}{SPACE}{units[power]}" if value < 1000 else f"{value:.0f}{SPACE}{units[power]}"


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
