from collections.abc import Iterator
from pathlib import Path

import pytest

from inarch import DataError
from inarch_benchmarks.embedded import reading
from inarch_benchmarks.embedded.models import reader_bert
from inarch_benchmarks.embedded.models.reader_bert import ReaderBert
from inarch_benchmarks.embedded.reading import Sentence, found_in, frequent_words, split
from inarch_benchmarks.embedded.tasks import real_text
from inarch_benchmarks.embedded.tasks.real_text import RealTextTask

from small_bases import SHORT

TEXT = """Return the sum of two numbers.

It is exact, unless one of the two is not. This one has a name, numpy, that gives it away.

    >>> add(1, 2)

Short one here. The result of a longer
line that goes on, and is joined."""

PROSE = [
    "Return the sum of two numbers.",
    "It is exact, unless one of the two is not.",
    "The result of a longer line that goes on, and is joined.",
]


def test_only_plain_prose_is_kept() -> None:
    assert list(split(TEXT)) == PROSE


def test_a_package_is_read_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("", "inner/", "inner/tests/"):
        folder = tmp_path / "planted_package" / place
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text(f'def add():\n    """{TEXT}"""\n', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = list(found_in("planted_package"))
    assert [sentence.text for sentence in found] == PROSE * 2
    assert [sentence.folder for sentence in found] == ["planted_package"] * 3 + ["planted_package/inner"] * 3
    assert {sentence.package for sentence in found} == {"planted_package"}
    assert len({(sentence.folder, sentence.read) for sentence in found}) == 2  # a file is read whole or not at all
    with pytest.raises(DataError, match="nowhere_to_be_found is not installed"):
        list(found_in("nowhere_to_be_found"))


def test_sentences_are_kept_once_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(package: str) -> Iterator[Sentence]:
        yield Sentence("Shared by both.", package, package, True)
        yield Sentence(f"Twice in {package}.", package, package, True)
        yield Sentence(f"Twice in {package}.", package, package, False)

    monkeypatch.setenv("INARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(reading, "found_in", planted)
    found = reading.sentences.__wrapped__()
    assert sorted(sentence.text for sentence in found) == sorted(f"Twice in {package}." for package in reading.PACKAGES)
    monkeypatch.setattr(reading, "found_in", None)  # it is read from the cache
    assert reading.sentences.__wrapped__() == found


def test_frequent_words() -> None:
    assert frequent_words(["B a, c.", "b a!", "b"], 3) == ["b", "a", "!"]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sentences of every package, so few that a base is soon made of them."""
    sentences = tuple(
        Sentence(f"The {package} {kind} of case {number}.", package, f"{package}/{kind}", read)
        for package in reading.PACKAGES
        for kind in ("curve", "matrix")
        for read in (True, False)
        for number in range(430)
    )
    monkeypatch.setattr(reading, "sentences", lambda: sentences)
    caches = (reader_bert._read, reader_bert._folders, reader_bert._vocabulary, real_text._texts)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


class SmallReaderBert(ReaderBert):
    optimisation = SHORT
    work = SHORT.steps
    words = 60


def test_the_base_is_taught_folders(planted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path))
    small = SmallReaderBert()
    base = small.prepare(lambda work: None)
    assert small.network().config.num_labels == 2 * len(reading.PACKAGES)
    assert len(small.held_out()) == small.held_out_sentences
    task = RealTextTask()
    model = task.load(base, 0)
    assert 0 < small.general_loss(base, model.base_model) < 10
    assert model.config.num_labels == len(reading.PACKAGES)
    score = task.score(model, task.examination(base))
    assert set(score.slices) == set(reading.PACKAGES)
    assert len(score.items) == 1000


def test_the_task_has_the_files_that_the_base_has_not(planted: None) -> None:
    task = RealTextTask()
    pool, validation, test = (
        {text.text for text in texts} for texts in (task.pool(), task.validation_texts(), task.test_texts())
    )
    assert not pool & (validation | test)
    assert not validation & test
    drawn = task.training_texts(0)
    assert {text.text for text in drawn} <= pool
    assert [sum(text.label == label for text in drawn) for label in range(4)] == [task.rows] * 4
    assert {text.text for text in task.training_texts(1)} != {text.text for text in drawn}


def test_too_few_sentences_are_refused(planted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(sentence for sentence in reading.sentences() if sentence.package != "numpy")
    monkeypatch.setattr(reading, "sentences", lambda: few)
    with pytest.raises(DataError, match="numpy has 0 sentences for real-text, which needs 825"):
        RealTextTask().fingerprint()


def test_a_folder_of_few_sentences_is_no_class(planted: None) -> None:
    assert reader_bert._folders(431) == []
    assert len(reader_bert._folders(430)) == 8
