"""One contender against another, on every task that both were done on."""

from collections.abc import Sequence
from difflib import get_close_matches

from inarch import ConfigError
from inarch_benchmarks.analysis.contenders import contenders, labelled
from inarch_benchmarks.analysis.differences import family
from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.findings import Difference
from inarch_benchmarks.analysis.stacks import letters


def compare(entries: Sequence[Entry], a: str, b: str) -> list[Difference]:
    """The differences of ``a`` from ``b``, one a task and model, corrected as one family.

    Args:
        entries: Of a suite, or of several.
        a: Label of a contender.
        b: Label of another.

    Raises:
        ConfigError: There is no such contender, or the two never ran on the same task at the same seed.
    """
    labels = list(dict.fromkeys(entry.contender for entry in entries))
    for label in (a, b):
        if label not in labels:
            near = get_close_matches(label, labels, n=3) or labels
            raise ConfigError(f'No contender is called "{label}". There are: {", ".join(near) or "none"}.')
    places = contenders(entries, letters(record for entry in entries for record in entry.finished))
    pairs = [(labelled(field, a), labelled(field, b)) for field in places.values()]
    differences = family([(one, other) for one, other in pairs if one is not None and other is not None])
    if not differences:
        raise ConfigError(
            f'"{a}" and "{b}" have no finished runs at the same seed of the same task and model: run both.'
        )
    return differences
