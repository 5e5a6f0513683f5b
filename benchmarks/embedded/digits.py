"""The handwritten digits inside scikit-learn: 1797 real scans of 8 x 8 pixels, split for learning from few labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
POOL_PER_CLASS = 50
VALIDATION_PER_CLASS = 40
LABELS_PER_CLASS = 10

LABELLED = CLASSES * LABELS_PER_CLASS
"""Digits that an adaptation learns from."""


@dataclass(frozen=True)
class Part:
    """Some of the digits.

    Attributes:
        images: Ink from 0 to 16, shape (digits, 8, 8).
        labels: The digit, shape (digits,).
        rows: Where each stands in scikit-learn's data set, shape (digits,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """One split of the data set.

    Attributes:
        training: ``LABELS_PER_CLASS`` of each class, drawn from the pool by the seed.
        validation: For choosing learning rates; the same for every seed.
        test: For the figures that are reported; the same for every seed.
    """

    training: Part
    validation: Part
    test: Part


def digits(seed: int) -> Digits:
    """The digits, split by class: a pool to draw labels from, validation and test never change, the draw does.

    The spread over seeds thus holds the luck of which digits were labelled, and every method gets the same ones.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images, labels = images.reshape(-1, 8, 8).astype(np.uint8), labels.astype(np.int64)
    fixed, drawn = np.random.RandomState(0), np.random.RandomState(seed)
    rows: list[list[NDArray[np.int64]]] = [[], [], []]
    for label in range(CLASSES):
        pool, validation, test = np.split(
            fixed.permutation(np.flatnonzero(labels == label)), [POOL_PER_CLASS, POOL_PER_CLASS + VALIDATION_PER_CLASS]
        )
        for part, some in zip(rows, (drawn.permutation(pool)[:LABELS_PER_CLASS], validation, test), strict=True):
            part.append(some)
    return Digits(*(_part(images, labels, np.concatenate(part)) for part in rows))


def _part(images: NDArray[np.uint8], labels: NDArray[np.int64], rows: NDArray[np.int64]) -> Part:
    return Part(images[rows], labels[rows], rows)
