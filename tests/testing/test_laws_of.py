"""The laws as an author's tests: which pass, which fail and which are skipped."""

from collections.abc import Callable

import pytest

import inarch
from inarch.testing import FAMILIES, LAWS, Family, Law, laws_of

import broken_methods as broken
from broken_methods import Good, building

Test = Callable[[Law, Family], None]


def parameters(test: Test) -> dict[str, tuple[Law, Family]]:
    (mark,) = test.pytestmark  # type: ignore[attr-defined]
    assert mark.args[0] == ("law", "family")
    return {case.id: case.values for case in mark.args[1]}


def run(test: Test, name: str) -> None:
    test(*parameters(test)[name])


def test_there_is_a_test_for_each_law_and_each_model() -> None:
    assert list(parameters(laws_of(Good()))) == [f"{law.name}-{model}" for law in LAWS for model in FAMILIES]
    assert list(parameters(laws_of("lora", models=["gpt2"], laws=[6]))) == ["merges-gpt2"]


def test_what_is_held_passes() -> None:
    run(laws_of(Good()), "merges-llama")


def test_what_is_broken_fails_with_promise_and_reason() -> None:
    with pytest.raises(AssertionError, match=r"(?s)^Merged into the weights it is .*Merged, its answers differ by"):
        run(laws_of(building(broken.MergesAnother)), "merges-llama")


def test_what_is_refused_is_skipped_with_the_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match='refused: bitfit: no part of this model has the role "@bias"'):
        run(laws_of("bitfit"), "merges-llama")


def test_what_does_not_apply_is_skipped_with_the_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="not applicable: Merging is refused"):
        run(laws_of(building(broken.DrawsInSecret)), "merges-llama")


def test_a_method_that_every_model_refuses_fails() -> None:
    with pytest.raises(AssertionError, match="good attaches to none of the models"):
        run(laws_of(broken.TargetsNothing()), "merges-llama")


def test_wrong_names_are_refused_at_once() -> None:
    with pytest.raises(inarch.UnknownNameError):
        laws_of("lora", models=["lama"])
    with pytest.raises(inarch.UnknownNameError):
        laws_of("lorra")
