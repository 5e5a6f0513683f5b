"""Variance components against a straightforward analysis of variance and against planted ones."""

import numpy as np
import pytest

from inarch_benchmarks.analysis.components import Components, moments


def crossed(
    rng: np.random.Generator, seeds: int, items: int, *, by_seed: float, by_item: float, rest: float
) -> np.ndarray:
    return (
        by_seed * rng.standard_normal((seeds, 1))
        + by_item * rng.standard_normal((1, items))
        + rest * rng.standard_normal((seeds, items))
    )


def components(means: np.ndarray, items: np.ndarray | None = None) -> Components:
    return moments(means, None if items is None else list(items)).components()


def anova(y: np.ndarray) -> tuple[float, float, float]:
    """The three mean squares, term by term as textbooks define them."""
    m, n = y.shape
    seed = sum(n * (y[s].mean() - y.mean()) ** 2 for s in range(m)) / (m - 1)
    item = sum(m * (y[:, i].mean() - y.mean()) ** 2 for i in range(n)) / (n - 1)
    rest = sum((y[s, i] - y[s].mean() - y[:, i].mean() + y.mean()) ** 2 for s in range(m) for i in range(n))
    return seed, item, rest / ((m - 1) * (n - 1))


def test_they_are_those_of_the_analysis_of_variance() -> None:
    y = crossed(np.random.default_rng(0), 4, 30, by_seed=1.0, by_item=1.0, rest=0.5)
    seed, item, rest = anova(y)
    assert min(seed, item) > rest
    found = components(y.mean(axis=1)[None], y[None])
    assert found.seeds[0, 0] == pytest.approx(seed / 120)
    assert found.items[0, 0] == pytest.approx((item - rest) / 120)


def test_a_variance_is_never_negative() -> None:
    y = np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])  # seed means alike, item means alike: all is the rest
    _, _, rest = anova(y)
    found = components(y.mean(axis=1)[None], y[None])
    assert found.seeds[0, 0] == pytest.approx(rest / 8)
    assert found.items[0, 0] == 0.0


def test_without_items_it_is_the_variance_of_a_mean() -> None:
    means = np.array([0.1, 0.4, 0.3])
    found = components(means[None])
    assert found.seeds[0, 0] == pytest.approx(means.var(ddof=1) / 3)
    assert found.items[0, 0] == 0.0


def test_one_seed_still_tells_what_items_bring() -> None:
    y = np.array([[1.0, 0.0, 1.0, 1.0, 0.0]])
    found = components(y.mean(axis=1)[None], y[None])
    assert np.isnan(found.seeds[0, 0])
    assert found.items[0, 0] == pytest.approx(y.var(ddof=1) / 5)


def test_planted_components_are_found_on_average() -> None:
    rng, m, n = np.random.default_rng(1), 5, 40
    truth = 0.2**2 / m + 0.8**2 / n + 0.5**2 / (m * n)
    found = []
    for _ in range(4000):
        y = crossed(rng, m, n, by_seed=0.2, by_item=0.8, rest=0.5)
        parts = components(y.mean(axis=1)[None], y[None])
        found.append(float(parts.seeds[0, 0] + parts.items[0, 0]))
    assert np.mean(found) == pytest.approx(truth, rel=0.03)


def test_several_quantities_have_covariances() -> None:
    rng = np.random.default_rng(2)
    shared = crossed(rng, 6, 50, by_seed=1.0, by_item=1.0, rest=0.0)
    other = crossed(rng, 6, 50, by_seed=0.5, by_item=0.5, rest=0.1)
    pair = np.stack([shared, 2 * shared + other]) + 0.1 * rng.standard_normal((2, 6, 50))
    found = components(pair.mean(axis=2), pair)
    for which in range(2):
        alone = components(pair[which].mean(axis=1)[None], pair[which][None])
        assert found.seeds[which, which] == pytest.approx(alone.seeds[0, 0])
        assert found.items[which, which] == pytest.approx(alone.items[0, 0])
    seed_means, item_means = pair.mean(axis=2), pair.mean(axis=1)
    left = found.seeds - np.cov(seed_means) / 6
    assert left == pytest.approx(np.zeros((2, 2)), abs=1e-12)
    assert found.items == pytest.approx(np.cov(item_means) / 50, abs=2e-4)  # less what one run alone brings
    assert np.linalg.eigvalsh(found.items).min() >= -1e-15


def test_differences_follow_from_what_both_have() -> None:
    rng = np.random.default_rng(3)
    pair = np.stack([crossed(rng, 5, 30, by_seed=0.1, by_item=1.0, rest=0.5) for _ in range(2)])
    both = moments(pair.mean(axis=2), list(pair))
    found = both.at(np.array([1, 0])).of(np.array([[1.0, -1.0]])).components()
    difference = pair[1] - pair[0]
    expected = components(difference.mean(axis=1)[None], difference[None])
    assert found.seeds == pytest.approx(expected.seeds)
    assert found.items == pytest.approx(expected.items)


def test_many_items_are_gone_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    y = crossed(np.random.default_rng(4), 3, 50, by_seed=1.0, by_item=1.0, rest=1.0)[None]
    whole = components(y.mean(axis=2), y)
    monkeypatch.setattr("inarch_benchmarks.analysis.components.BLOCK", 20)
    assert components(y.mean(axis=2), y).items == pytest.approx(whole.items)
