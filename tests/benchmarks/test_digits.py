import numpy as np
import pytest

from inarch_benchmarks.embedded.digits import CLASSES, LABELLED, LABELS_PER_CLASS, VALIDATION_PER_CLASS, digits


@pytest.mark.parametrize("seed", [0, 1])
def test_the_parts_are_disjoint(seed: int) -> None:
    split = digits(seed)
    rows = np.concatenate([split.training.rows, split.validation.rows, split.test.rows])
    assert len(np.unique(rows)) == len(rows)
    assert len(split.training.rows) == LABELLED


def test_the_parts_are_stratified() -> None:
    split = digits(0)
    assert np.bincount(split.training.labels).tolist() == [LABELS_PER_CLASS] * CLASSES
    assert np.bincount(split.validation.labels).tolist() == [VALIDATION_PER_CLASS] * CLASSES
    assert np.bincount(split.test.labels).tolist() == [88, 92, 87, 93, 91, 92, 91, 89, 84, 90]


def test_a_seed_draws_the_labelled_digits_and_nothing_else() -> None:
    one, other = digits(0), digits(1)
    assert not np.array_equal(one.training.rows, other.training.rows)
    assert np.array_equal(one.validation.rows, other.validation.rows)
    assert np.array_equal(one.test.rows, other.test.rows)
    assert np.array_equal(one.training.rows, digits(0).training.rows)
    assert np.array_equal(one.training.images, digits(0).training.images)
