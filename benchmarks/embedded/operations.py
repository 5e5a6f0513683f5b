"""Operations on sequences of letters: those that ``sequence-gpt`` is pretrained on, and one that it never sees.

A row is ``name letters = letters``: the name of an operation, five to eight letters, and what it makes of them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inarch_benchmarks.comparison.examples import TensorExamples
from inarch_benchmarks.embedded.dice import Dice

LETTERS = 20
SHORTEST, LONGEST = 5, 8

EQUALS = LETTERS
PADDING = LETTERS + 1
FIRST_NAME = LETTERS + 2

LENGTH = 2 * LONGEST + 2
"""Of a row, padding included."""

Letters = tuple[int, ...]
Operation = Callable[[Letters], Letters]


def copied(letters: Letters) -> Letters:
    """Abcd gives abcd."""
    return letters


def reversed_(letters: Letters) -> Letters:
    """Abcd gives dcba."""
    return letters[::-1]


def left(letters: Letters) -> Letters:
    """Abcd gives bcda."""
    return letters[1:] + letters[:1]


def right(letters: Letters) -> Letters:
    """Abcd gives dabc."""
    return letters[-1:] + letters[:-1]


def ends(letters: Letters) -> Letters:
    """Abcd gives dbca."""
    return letters[-1:] + letters[1:-1] + letters[:1]


def following(letters: Letters) -> Letters:
    """Each letter becomes the next one, the last of the alphabet the first."""
    return tuple((letter + 1) % LETTERS for letter in letters)


def preceding(letters: Letters) -> Letters:
    """Each letter becomes the one before it, the first of the alphabet the last."""
    return tuple((letter - 1) % LETTERS for letter in letters)


def mirrored(letters: Letters) -> Letters:
    """Each letter becomes the one as far from the alphabet's end as it is from its beginning."""
    return tuple(LETTERS - 1 - letter for letter in letters)


def unseen(letters: Letters) -> Letters:
    """``reversed_`` and ``following`` at once, under a name of its own: abcd gives edcb."""
    return following(reversed_(letters))


PRETRAINED: Mapping[str, Operation] = {
    "copy": copied,
    "reverse": reversed_,
    "left": left,
    "right": right,
    "ends": ends,
    "following": following,
    "preceding": preceding,
    "mirror": mirrored,
}

UNSEEN_NAME = FIRST_NAME + len(PRETRAINED)
"""The number of the name of the unseen operation."""

VOCABULARY = UNSEEN_NAME + 1


@dataclass(frozen=True)
class Row:
    """One question with its answer.

    Attributes:
        name: Number of the operation's name.
        letters: What it is done to.
        answer: What comes of it.
    """

    name: int
    letters: Letters
    answer: Letters

    @property
    def numbers(self) -> list[int]:
        """The row as numbers of the vocabulary."""
        return [self.name, *self.letters, EQUALS, *self.answer]


def drawn_letters(dice: Dice) -> Letters:
    """A sequence by chance."""
    return tuple(dice.below(LETTERS) for _ in range(SHORTEST + dice.below(LONGEST - SHORTEST + 1)))


def pretraining_rows(count: int, seed: int) -> list[Row]:
    """Rows of the operations of the pretraining, in equal shares on average."""
    dice = Dice(seed)
    operations = list(PRETRAINED.values())
    rows = []
    for _ in range(count):
        place, letters = dice.below(len(operations)), drawn_letters(dice)
        rows.append(Row(FIRST_NAME + place, letters, operations[place](letters)))
    return rows


def unseen_rows(count: int, seed: int) -> list[Row]:
    """Rows of the unseen operation, no two of them alike."""
    dice = Dice(seed)
    found: dict[Letters, None] = {}
    while len(found) < count:
        found[drawn_letters(dice)] = None
    return [Row(UNSEEN_NAME, letters, unseen(letters)) for letters in found]


def sha256(rows: Sequence[Row]) -> str:
    """The SHA-256 of rows, equal on every machine."""
    return hashlib.sha256(repr([row.numbers for row in rows]).encode()).hexdigest()


def examples(rows: Sequence[Row]) -> TensorExamples:
    """Rows for a causal language model, whose labels are the answers alone."""
    input_ids = torch.full((len(rows), LENGTH), PADDING)
    labels = torch.full((len(rows), LENGTH), -100)
    for place, row in enumerate(rows):
        numbers, answer = torch.tensor(row.numbers), torch.tensor(row.answer)
        input_ids[place, : len(numbers)] = numbers
        labels[place, len(numbers) - len(answer) : len(numbers)] = answer
    return TensorExamples(input_ids=input_ids, labels=labels)


def right_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each answer is right in every letter, shape (rows,), with the letters before each given.

    Greedy decoding gives the right answer in exactly these rows: up to its first mistake it has written what it is
    given here, and after a mistake it cannot be right.
    """
    guesses, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    return ((guesses == wanted) | (wanted == -100)).all(-1)
