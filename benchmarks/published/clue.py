"""CLUE (Xu et al. 2020, arXiv:2004.05986): two classifications of Chinese texts.

The labels of its test splits are kept secret: as for GLUE, the validation split is the test here, and a part of the
training split is for validation. The leaderboard's figures are of the secret test.
"""

from inarch_benchmarks.comparison import Recipe
from inarch_benchmarks.published.hub import Split
from inarch_benchmarks.published.sequence_task import SequenceTask

DATASET = "clue/clue"


def _splits(subset: str) -> tuple[Split, tuple[Split, ...]]:
    """The training split of a task, and its validation split as the test."""
    return Split(DATASET, subset, "train"), (Split(DATASET, subset, "validation"),)


class ClueTask(SequenceTask):
    """One classification of CLUE."""

    model = "google-bert/bert-base-chinese"
    longest = 128


class TNEWS(ClueTask):
    """Which of fifteen sections a headline belongs to."""

    name = "clue/tnews"
    training, tests = _splits("tnews")
    classes = 15
    chance = 1 / 15
    texts = ("sentence",)
    recipe = Recipe(epochs=2, batch_size=16)


class AFQMC(ClueTask):
    """Whether two questions to a bank ask the same."""

    name = "clue/afqmc"
    training, tests = _splits("afqmc")
    classes = 2
    chance = 0.5
    texts = ("sentence1", "sentence2")
    recipe = Recipe(epochs=2, batch_size=16)


TASKS: tuple[type[ClueTask], ...] = (TNEWS, AFQMC)
