"""Real text: sentences from the documentation strings of installed packages.

Files are split in two: the sentences of some are read in pretraining, those of the others are the task's, whose label
is the package that a sentence documents. Sentences that name a package, and those that two of them share, are left out.
"""

import ast
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inarch import DataError
from inarch_benchmarks.embedded.cache import cache_folder, publish, read_record
from inarch_benchmarks.embedded.dice import Dice

PACKAGES = {"matplotlib": "matplotlib", "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn"}
"""The distribution of each package that is read."""

VERSION = 1
"""Of what follows; raise it when other sentences are found."""

SHORTEST, LONGEST = 6, 18
"""Words of a sentence."""

_SENTENCE = re.compile(r"[A-Z][\w ,;'()/-]+\.")
_NAMES = re.compile(r"numpy|scipy|scikit|sklearn|matplotlib|pyplot|\bmpl|\bnp\b|\bplt\b", re.IGNORECASE)
_FILE = "sentences.json"


@dataclass(frozen=True)
class Sentence:
    """A sentence of a documentation string.

    Attributes:
        text: The sentence.
        package: Where it stands.
        folder: Of its file: ``scipy/stats``.
        read: Whether its file is one of those that are read in pretraining.
    """

    text: str
    package: str
    folder: str
    read: bool


@cache
def sentences() -> tuple[Sentence, ...]:
    """Every sentence of the packages, in an order by chance that is always the same; kept in the cache folder."""
    versions = {package: version(distribution) for package, distribution in PACKAGES.items()}
    identity = hashlib.sha256(json.dumps([VERSION, versions]).encode()).hexdigest()
    folder = cache_folder() / f"reading-{identity[:16]}"
    if read_record(folder) is None:
        publish(folder, _write)
    rows = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return tuple(Sentence(*row) for row in rows)


def _write(folder: Path) -> dict[str, Any]:
    found = [sentence for package in PACKAGES for sentence in found_in(package)]
    packages_of: dict[str, set[str]] = {}
    for sentence in found:
        packages_of.setdefault(sentence.text, set()).add(sentence.package)
    kept = {sentence.text: sentence for sentence in found if len(packages_of[sentence.text]) == 1}
    mixed = Dice(0).some_of(list(kept.values()), len(kept))
    rows = [[sentence.text, sentence.package, sentence.folder, sentence.read] for sentence in mixed]
    (folder / _FILE).write_text(json.dumps(rows), encoding="utf-8")
    return {"sentences": Counter(sentence.package for sentence in mixed)}


def found_in(package: str) -> Iterator[Sentence]:
    """The sentences of one package, file by file.

    Raises:
        DataError: It is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"The package {package} is not installed, whose documentation is read here.")
    root = Path(spec.submodule_search_locations[0])
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root.parent)
        if "tests" not in name.parts:
            read = hashlib.sha256(name.as_posix().encode()).digest()[0] % 2 == 0
            for text in _documentation(path):
                yield from (Sentence(sentence, package, name.parent.as_posix(), read) for sentence in split(text))


def split(text: str) -> Iterator[str]:
    """The sentences of a documentation string that are plain prose."""
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=\.) (?=[A-Z])", " ".join(paragraph.split())):
            words = sentence.count(" ") + 1
            if SHORTEST <= words <= LONGEST and _SENTENCE.fullmatch(sentence) and not _NAMES.search(sentence):
                yield sentence


def _documentation(path: Path) -> Iterator[str]:
    """The documentation strings of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text


def frequent_words(texts: Iterable[str], count: int) -> list[str]:
    """The most frequent words and marks of texts, as the vocabulary's tokenizer splits them; ties by the alphabet."""
    counted = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower()))
    return [word for word, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:count]]
