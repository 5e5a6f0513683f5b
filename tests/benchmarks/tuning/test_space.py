import pytest

from inarch import ConfigError
from inarch_benchmarks.tuning import Space

RATES = (1e-4, 3e-4, 1e-3)


def test_a_start_outside_the_values_comes_first() -> None:
    space = Space(
        {"learning_rate": RATES, "alpha": (8, 16), "beta": (0.1, 0.2)}, 4, {"alpha": 4, "beta": 0.2, "rank": 2}
    )
    assert space.others == {"alpha": [4, 8, 16], "beta": [0.1, 0.2]}
    assert space.first == {"alpha": 4, "beta": 0.2}


def test_tuples_become_what_json_gives_back() -> None:
    space = Space({"learning_rate": RATES, "targets": (("a",), ("a", "b"))}, 4, {"targets": ("a",)})
    assert space.others == {"targets": [["a"], ["a", "b"]]}


def test_the_fingerprint_is_of_what_decides() -> None:
    space = Space({"learning_rate": RATES}, 4, {"rank": 2})
    assert space.fingerprint == Space({"learning_rate": list(RATES)}, 4, {"rank": 3}).fingerprint
    assert space.fingerprint != Space({"learning_rate": RATES}, 5).fingerprint
    assert space.fingerprint != Space({"learning_rate": RATES[1:]}, 4).fingerprint


@pytest.mark.parametrize("rates", [(), (1e-3, 1e-4), (1e-3, 1e-3), (0.0, 1e-3), (1e-3, 3.0)])
def test_rates_must_ascend_within_bounds(rates: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="ascend, from 1e-06 to 1"):
        Space({"learning_rate": rates}, 4)


def test_there_must_be_trials_and_starts() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Space({"learning_rate": RATES}, 0)
    with pytest.raises(ConfigError, match="alpha"):
        Space({"learning_rate": RATES, "alpha": (1, 2)}, 4)
