import pytest

from inarch_benchmarks import routing


@pytest.mark.thorough
def test_a_mixed_batch_is_held_against_one_adapter_by_both() -> None:
    row = routing.measure(tokens=1, repeats=2)
    assert set(row["ratios"]) == {"inarch, mixed", "inarch, entering and mixed", "peft, mixed"}
    for who, ratio in row["ratios"].items():
        one = f"{who.split(',')[0]}, one adapter"
        assert ratio == row["milliseconds"][who][1] / row["milliseconds"][one][1]
