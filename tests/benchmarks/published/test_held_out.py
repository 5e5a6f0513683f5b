import pytest

from inarch_benchmarks.published.held_out import held_out, shuffled


@pytest.mark.parametrize(("rows", "held"), [(2, 1), (10, 1), (2490, 249), (392702, 2000)])
def test_a_tenth_is_held_out_and_never_more_than_two_thousand(rows: int, held: int) -> None:
    trained, apart = held_out(rows)
    assert len(apart) == held
    assert sorted(trained + apart) == list(range(rows))
    assert trained == sorted(trained)
    assert apart == sorted(apart)


def test_it_is_spread_over_the_rows() -> None:
    _, apart = held_out(1000)
    assert 10 < sum(number < 500 for number in apart) < 90
    assert held_out(1000) == held_out(1000)


def test_the_order_is_that_of_pythons_random_numbers() -> None:
    # random.Random(0).random() gives 0.8444, 0.7580, 0.4206, 0.2589, as Python documents to be the same everywhere
    assert shuffled(4) == [3, 2, 1, 0]
