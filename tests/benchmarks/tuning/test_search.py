import itertools
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from inarch_benchmarks.tuning import Search, Space, open_journal
from inarch_benchmarks.tuning.sampler import sample
from inarch_benchmarks.tuning.space import Settings
from inarch_benchmarks.tuning.strategy import Told

optuna = pytest.importorskip("optuna")

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
ALONE = Space({"learning_rate": RATES}, 8)
WITH_OTHERS = Space(
    {"learning_rate": RATES, "alpha": (4, 8, 16, 32), "dropout": (0.0, 0.05, 0.1)}, 12, {"alpha": 8, "dropout": 0.0}
)


def score(settings: Settings) -> float | None:
    """Best at 3e-2, an alpha of 16 and a dropout of 0.05; rates from 1e-1 diverge."""
    if settings["learning_rate"] >= 0.1:
        return None
    penalty = abs(settings.get("dropout", 0.05) - 0.05) + 0.01 * abs(settings.get("alpha", 16) - 16)
    return -abs(math.log10(settings["learning_rate"] / 3e-2)) - penalty


def perform(search: Search, shuffle: random.Random | None = None) -> list[Settings]:
    """Make every trial; the settings in the order of their numbers."""
    made = {}
    while not search.done:
        proposals = search.ask()
        if shuffle:
            shuffle.shuffle(proposals)
        for proposal in proposals:
            made[proposal.number] = proposal.settings
            search.tell(proposal, score(proposal.settings))
    return [made[number] for number in sorted(made)]


@pytest.mark.parametrize("space", [ALONE, WITH_OTHERS])
def test_the_same_scores_give_the_same_proposals_in_whatever_order_they_come(space: Space, tmp_path: Path) -> None:
    one = perform(Search("cell", space, open_journal(tmp_path / "one")))
    other = perform(Search("cell", space, open_journal(tmp_path / "other")), random.Random(3))
    assert one == other
    assert len(one) == space.trials


def test_a_finished_search_says_what_was_tried_and_chosen(tmp_path: Path) -> None:
    search = Search("cell", WITH_OTHERS, open_journal(tmp_path / "journal"))
    made = perform(search)
    assert [trial.settings for trial in search.trials] == made
    assert [trial.score for trial in search.trials] == [score(settings) for settings in made]
    (chosen,) = (trial for trial in search.trials if trial.chosen)
    assert chosen.settings == search.best == max(made, key=lambda settings: score(settings) or -99.0)
    assert not search.edge  # 1e-1 was tried, and diverged
    assert search.ask() == []


def test_trials_that_fail_or_diverge_count(tmp_path: Path) -> None:
    search = Search("cell", ALONE, open_journal(tmp_path / "journal"))
    for number, proposal in enumerate(search.ask()):
        search.tell(proposal, (None, math.nan, math.inf, 0.5)[number])
    assert [trial.score for trial in search.trials] == [None, None, None, 0.5]
    assert search.best == {"learning_rate": 3e-3}
    assert search.edge


def test_a_proposal_is_given_out_once_but_again_to_those_who_come_after(tmp_path: Path) -> None:
    search = Search("cell", ALONE, open_journal(tmp_path / "journal"))
    proposals = search.ask()
    assert [proposal.settings["learning_rate"] for proposal in proposals] == list(RATES)
    assert search.ask() == []
    search.tell(proposals[1], 0.5)
    again = Search("cell", ALONE, open_journal(tmp_path / "journal"))
    assert again.ask() == [proposals[0], *proposals[2:]]


def test_a_second_word_on_a_trial_is_ignored(tmp_path: Path) -> None:
    search = Search("cell", ALONE, open_journal(tmp_path / "journal"))
    first = search.ask()[0]
    search.tell(first, 0.5)
    search.tell(first, 0.7)
    assert [trial.score for trial in search.trials] == [0.5]


def test_two_who_write_a_round_at_once_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (Search("cell", ALONE, open_journal(tmp_path / "journal")) for _ in range(2))
    before = other._records()
    proposals = one.ask()
    one.tell(proposals[0], 0.5)
    views = iter([before, one._records()])  # the other plans with what it saw before
    with monkeypatch.context() as patch:
        patch.setattr(other, "_records", views.__next__)
        assert other.ask() == proposals[1:]
    assert len(one._study.trials) == 8  # each has written the round
    assert [trial.score for trial in other.trials] == [0.5]
    assert len(perform(Search("cell", ALONE, open_journal(tmp_path / "journal")))) == 7


def test_cells_share_a_journal_and_other_spaces_begin_anew(tmp_path: Path) -> None:
    storage = open_journal(tmp_path / "journal")
    perform(Search("cell", ALONE, storage))
    assert Search("other cell", ALONE, storage).trials == ()
    assert Search("cell", Space({"learning_rate": RATES}, 9), storage).trials == ()
    assert len(Search("cell", ALONE, storage).trials) == 8


def test_optuna_reads_the_journal_by_itself_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    perform(Search("cell", WITH_OTHERS, open_journal(tmp_path / "journal")))
    assert capfd.readouterr() == ("", "")
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    (study,) = (optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend)).trials,)
    assert len(study) == WITH_OTHERS.trials
    assert {trial.params["alpha"] for trial in study} <= {4, 8, 16, 32}


def test_rates_come_back_from_the_journal_to_the_last_bit(tmp_path: Path) -> None:
    made = perform(Search("cell", ALONE, open_journal(tmp_path / "journal")))
    assert [trial.settings for trial in Search("cell", ALONE, open_journal(tmp_path / "journal")).trials] == made


def test_the_sampler_proposes_every_combination_once() -> None:
    told = [Told({"learning_rate": 1e-3, **WITH_OTHERS.first}, 0.5)]
    while (settings := sample(WITH_OTHERS, told)) is not None:
        told.append(Told({"learning_rate": 1e-3, **settings}, None if len(told) % 3 else 0.1 * len(told)))
    found = {(trial.settings["alpha"], trial.settings["dropout"]) for trial in told}
    assert found == set(itertools.product((4, 8, 16, 32), (0.0, 0.05, 0.1)))
    assert len(told) == 12


def test_the_sampler_depends_on_its_seed() -> None:
    def third(seed: int) -> Any:
        space = Space(WITH_OTHERS.values, 12, WITH_OTHERS.start, seed)
        return sample(space, [Told({"learning_rate": 1e-3, **space.first}, 0.5)])

    assert third(0) == third(0)
    assert len({tuple((third(seed) or {}).values()) for seed in range(8)}) > 1


def test_the_sampler_keeps_away_from_what_failed() -> None:
    values = tuple(range(40))

    def near_success(failed: Iterable[int]) -> int:
        """How often something from 11 to 29 is proposed, over seeds, when the only success is at 20."""
        told = [Told({"learning_rate": 1e-3, "width": 20}, 0.5)]
        told += [Told({"learning_rate": 1e-3, "width": width}, None) for width in failed]
        spaces = (Space({"learning_rate": RATES, "width": values}, 99, {"width": 20}, seed) for seed in range(100))
        return sum(10 < (sample(space, told) or {})["width"] < 30 for space in spaces)

    assert near_success(range(0, 10, 2)) > near_success([]) + 5
