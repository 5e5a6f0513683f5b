"""Software stacks: which runs were made by the same versions of everything that computes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from string import ascii_uppercase

from inarch_benchmarks.comparison.record import RunRecord

Stack = tuple[tuple[str, str | None], ...]

COUNTED = ("python", "torch", "transformers", "peft", "inarch", "numpy", "bitsandbytes", "accelerate", "tokenizers")
"""What decides a result: what computes, initialises, shuffles or reads. Of Python only the minor version does."""


def stack(record: RunRecord) -> Stack:
    """The versions that matter of those that a run was made with."""
    return _stack(tuple(record.software.items()))


def letters(records: Iterable[RunRecord]) -> dict[Stack, str]:
    """A letter for each stack, A for the one with the most runs."""
    counted = Counter(map(stack, records)).most_common()
    return {found: letter(index) for index, (found, _) in enumerate(counted)}


def letter(index: int) -> str:
    """A to Z, then AA, AB and so on."""
    return (letter(index // 26 - 1) if index >= 26 else "") + ascii_uppercase[index % 26]


def mark(found: Iterable[str]) -> str:
    """One letter, or all of them where runs of several stacks are pooled: ``A+B``."""
    return "+".join(sorted(set(found), key=lambda letter: (len(letter), letter)))


def described(found: Mapping[Stack, str]) -> dict[str, dict[str, str | None]]:
    """Versions by letter."""
    return {letter: dict(stack) for stack, letter in found.items()}


@lru_cache(maxsize=1024)
def _stack(software: Stack) -> Stack:
    versions = dict(software)
    return tuple((name, _version(name, versions[name])) for name in COUNTED if name in versions)


def _version(name: str, version: str | None) -> str | None:
    if name == "python" and version is not None:
        return ".".join(version.split(".")[:2])
    return version
