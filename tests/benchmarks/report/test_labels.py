import itertools
import random

import pytest

from inarch_benchmarks.report.labels import TOLERATED, Label, extent, placed

BOUNDS = (0.0, 0.0, 400.0, 300.0)


def box(label: Label) -> tuple[float, float, float, float]:
    assert label.centre
    wide, tall = extent(label.text)
    return (
        label.centre[0] - wide / 2, label.centre[1] - tall / 2, label.centre[0] + wide / 2, label.centre[1] + tall / 2,
    )  # fmt: skip


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    along = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0) * max(along, 0)


@pytest.mark.parametrize("seed", range(5))
def test_labels_cover_neither_each_other_nor_points(seed: int) -> None:
    dice = random.Random(seed)
    labels = [Label(f"method r{number}", 60 + 280 * dice.random(), 40 + 220 * dice.random()) for number in range(20)]
    points = [(label.x - 5, label.y - 5, label.x + 5, label.y + 5) for label in labels]
    found = [label for label in placed(labels, points, BOUNDS) if label.centre]
    assert len(found) >= 18
    for one, other in itertools.combinations(found, 2):
        assert overlap(box(one), box(other)) <= TOLERATED
    for label in found:
        assert all(overlap(box(label), point) <= TOLERATED for point in points)
        left, bottom, right, top = box(label)
        assert left >= 0
        assert bottom >= 0
        assert right <= 400
        assert top <= 300


def test_the_first_gets_the_nearest_place() -> None:
    first, second = placed([Label("one", 200, 150), Label("two", 200, 150)], [(195, 145, 205, 155)], BOUNDS)
    assert first.reach < second.reach or first.centre != second.centre
    assert first.centre
    assert first.centre[0] > 200
    assert first.centre[1] == pytest.approx(150)


def test_a_label_without_room_is_left_out() -> None:
    (found,) = placed([Label("a name", 200, 150)], [BOUNDS], BOUNDS)
    assert found.centre is None
