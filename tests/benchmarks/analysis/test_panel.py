"""Panels: what they compute for all at once must be what each pair has alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from inarch_benchmarks.analysis.components import moments
from inarch_benchmarks.analysis.panel import Panel, estimates
from inarch_benchmarks.analysis.scores import Scores

Sample = Callable[..., Scores]


def answers(seeds: tuple[int, ...], items: int, key: int) -> Scores:
    found = np.random.default_rng(key).integers(0, 2, (len(seeds), items)).astype(np.uint8)
    return Scores(seeds, found.mean(axis=1), found, items)


def test_a_pair_in_a_panel_is_what_it_is_alone() -> None:
    field = [answers((0, 1, 2, 3), 50, key) for key in range(4)]
    field += [
        answers((1, 2, 3, 9), 50, 7),
        replace(answers((0, 1, 2, 3), 50, 8), items=None),
        answers((0, 1, 2, 3), 20, 9),
    ]
    panel = Panel(field)
    pairs = [(one, other) for one in field for other in field if one is not other]
    found = estimates([(panel, one, other) for one, other in pairs])
    for index, (one, other) in enumerate(pairs):
        seeds = one.common(other)
        x, y = one.at(seeds), other.at(seeds)
        known = x.items is not None and y.items is not None and x.count == y.count
        items = [x.items.astype(float) - y.items] if known else None  # type: ignore[union-attr, operator]
        means = x.means - y.means
        expected = moments(means[None], items).components()
        assert found.mean[index] == pytest.approx(means.mean())
        assert found.spread[index] == pytest.approx(means.std(ddof=1))
        assert found.by_seeds[index] == pytest.approx(float(expected.seeds[0, 0]))
        assert found.by_items[index] == pytest.approx(float(expected.items[0, 0]), abs=1e-15)
        assert (found.seeds[index], found.items[index]) == (len(seeds), 50 if known and x.count == 50 else 0)


def test_items_of_other_data_are_not_paired() -> None:
    here, there = (replace(answers((0, 1, 2), 30, key), data=frozenset({str(key)})) for key in range(2))
    found = estimates([(Panel([here, there]), here, there)])
    assert found.items.tolist() == [0]
    assert found.by_items.tolist() == [0.0]


def test_nothing_that_varies_is_known_to_one_item(sample: Sample) -> None:
    same, without = sample(np.ones((3, 40), int)), sample(None, [0.3] * 3, rows=10)
    panel = Panel([same, without])
    assert estimates([(panel, same, None), (panel, without, None)]).error == pytest.approx([1 / 40, 1 / 10])
    twice = answers((0, 1, 2), 40, 0)
    again = replace(twice)
    assert estimates([(Panel([twice, again]), twice, again)]).error == pytest.approx([1 / 40])
