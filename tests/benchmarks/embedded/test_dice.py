import random
from collections import Counter

from inarch_benchmarks.embedded.dice import Dice


def test_numbers_come_from_random_alone() -> None:
    dice, chance = Dice(7), random.Random(7)
    assert dice.uniform(2, 4, 3).tolist() == [2 + 2 * chance.random() for _ in range(3)]
    assert [dice.below(10) for _ in range(20)] == [int(chance.random() * 10) for _ in range(20)]
    assert [dice.chance(0.3) for _ in range(20)] == [chance.random() < 0.3 for _ in range(20)]
    assert dice.one_of("abc") == "abc"[int(chance.random() * 3)]


def test_some_are_drawn_without_repetition_and_alike() -> None:
    dice = Dice(0)
    drawn = Counter(item for _ in range(6000) for item in dice.some_of("abcd", 2))
    assert all(2800 < count < 3200 for count in drawn.values())
    assert all(len(set(dice.some_of(range(9), 9))) == 9 for _ in range(10))
    orders = Counter(tuple(dice.some_of("abc", 3)) for _ in range(6000))
    assert len(orders) == 6
    assert all(850 < count < 1150 for count in orders.values())
