from collections.abc import Callable

from inarch_benchmarks.analysis.stacks import described, letter, letters, mark, stack
from inarch_benchmarks.comparison.record import RunRecord


def test_only_what_computes_makes_a_stack(record: Callable[..., RunRecord]) -> None:
    def of(**software: str | None) -> RunRecord:
        return record("lora", 0, 0.5, software=software)

    base = of(python="3.11.9", torch="2.13.0", rich="13.9")
    assert stack(base) == stack(of(python="3.11.2", torch="2.13.0", rich="14.0"))
    assert stack(base) != stack(of(python="3.12.1", torch="2.13.0"))
    assert stack(base) != stack(of(python="3.11.9", torch="2.13.0+cu126"))
    assert stack(base) != stack(of(python="3.11.9", torch="2.13.0", bitsandbytes=None))


def test_the_most_common_stack_is_a(record: Callable[..., RunRecord]) -> None:
    old, new = record("lora", 0, 0.5, software={"torch": "2.11"}), record("lora", 0, 0.5, software={"torch": "2.13"})
    found = letters([old, new, new])
    assert (found[stack(new)], found[stack(old)]) == ("A", "B")
    assert described(found) == {"A": {"torch": "2.13"}, "B": {"torch": "2.11"}}
    assert letters([]) == {}


def test_letters_and_marks() -> None:
    assert [letter(index) for index in (0, 25, 26, 51, 52)] == ["A", "Z", "AA", "AZ", "BA"]
    assert mark(["B", "A", "B"]) == "A+B"
    assert mark([]) == ""
