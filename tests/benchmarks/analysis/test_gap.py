"""Shares of the head-to-full gap: Fieller's interval against the t test that defines it, and its coverage."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from inarch_benchmarks.analysis.findings import Interval
from inarch_benchmarks.analysis.gap import shares
from inarch_benchmarks.analysis.panel import Panel
from inarch_benchmarks.analysis.scores import Scores

Sample = Callable[..., Scores]

HEAD = [0.50, 0.52, 0.49, 0.51, 0.50]
LORA = [0.68, 0.71, 0.70, 0.69, 0.73]
FULL = [0.80, 0.81, 0.78, 0.80, 0.82]


def share(method: Scores, head: Scores, full: Scores) -> Interval | None:
    (found,) = shares(Panel(list(dict.fromkeys((method, head, full)))), [method], head, full)
    return found


def test_it_is_all_shares_that_a_t_test_allows(sample: Sample) -> None:
    found = share(sample(None, LORA), sample(None, HEAD), sample(None, FULL))
    assert found is not None
    gained, possible = np.subtract(LORA, HEAD), np.subtract(FULL, HEAD)
    assert found.mean == pytest.approx(gained.mean() / possible.mean())
    for end in (found.low, found.high):
        assert stats.ttest_1samp(gained - end * possible, 0).pvalue == pytest.approx(0.05, abs=1e-6)
    assert found.low < found.mean < found.high


def test_the_ends_of_the_gap_are_exact(sample: Sample) -> None:
    head, full = sample(None, HEAD), sample(None, FULL)
    of_head, of_full = share(head, head, full), share(full, head, full)
    assert of_head is not None
    assert of_full is not None
    assert (of_head.mean, of_head.low, of_head.high) == pytest.approx((0, 0, 0), abs=1e-7)
    assert (of_full.mean, of_full.low, of_full.high) == pytest.approx((1, 1, 1), abs=1e-7)


@pytest.mark.parametrize(
    "full",
    [
        pytest.param([0.51, 0.50, 0.52, 0.49, 0.52], id="no clear gap"),
        pytest.param([0.30, 0.31, 0.29, 0.30, 0.30], id="full is worse"),
    ],
)
def test_there_is_no_share_without_a_gap(sample: Sample, full: list[float]) -> None:
    assert share(sample(None, LORA), sample(None, HEAD), sample(None, full)) is None


def test_there_is_no_share_with_too_few_seeds(sample: Sample) -> None:
    assert share(*(sample(None, some[:2]) for some in (LORA, HEAD, FULL))) is None


def test_it_covers_the_truth(sample: Sample) -> None:
    """Seeds and items vary; 60 % of the gap is recovered on average over all of both."""
    rng, rounds, m, n, covered, told = np.random.default_rng(0), 1000, 5, 80, 0, 0
    for _ in range(rounds):
        by_item, gap = rng.normal(0, 0.3, n), 0.3 + rng.normal(0, 0.3, n)
        means = (0.4 + by_item, 0.4 + by_item + 0.6 * gap + rng.normal(0, 0.2, n), 0.4 + by_item + gap)
        head, method, full = (
            sample(mean + 0.03 * rng.standard_normal((m, 1)) + 0.2 * rng.standard_normal((m, n))) for mean in means
        )
        found = share(method, head, full)
        if found is not None:
            told += 1
            covered += found.low <= 0.6 <= found.high
            assert found.item_error > 0
    assert told > 0.99 * rounds
    assert covered >= stats.binom.ppf(0.001, told, 0.95)
    assert covered < 0.99 * told
