"""The sampler of settings other than the learning rate: Optuna's TPE (Bergstra et al., 2011), seeded."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from inarch_benchmarks.comparison.extras import need
from inarch_benchmarks.tuning.space import Settings, Space
from inarch_benchmarks.tuning.strategy import Told

DRAWS = 64
"""Draws in search of settings that were not tried."""


def sample(space: Space, told: Sequence[Told]) -> Settings | None:
    """Settings that are not among the trials given; None where all were tried. The same trials give the same ones."""
    tried = {_places(space, trial.settings) for trial in told}
    if len(tried) == math.prod(len(values) for values in space.others.values()):
        return None
    study, distributions = _study(space, told)
    for _ in range(DRAWS):
        places = tuple(study.ask(distributions).params[name] for name in space.others)
        if places not in tried:
            return _settings(space, places)
    everything = itertools.product(*(range(len(values)) for values in space.others.values()))
    return _settings(space, next(places for places in everything if places not in tried))


def _study(space: Space, told: Sequence[Told]) -> tuple[Any, dict[str, Any]]:
    """A study in memory that knows the trials; settings are the places of their values, so that TPE knows the order."""
    optuna = need("optuna", "bench")
    sampler = optuna.samplers.TPESampler(seed=space.seed * 1000 + len(told), n_startup_trials=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {
        name: optuna.distributions.IntDistribution(0, len(values) - 1) for name, values in space.others.items()
    }
    for trial in told:
        params = dict(zip(space.others, _places(space, trial.settings), strict=True))
        failed = {"state": optuna.trial.TrialState.PRUNED}  # TPE ranks it below every score, and ignores FAIL
        ended = failed if trial.score is None else {"value": trial.score}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, **ended))
    return study, distributions


def _places(space: Space, settings: Settings) -> tuple[int, ...]:
    return tuple(values.index(settings[name]) for name, values in space.others.items())


def _settings(space: Space, places: Sequence[int]) -> Settings:
    return {name: values[place] for (name, values), place in zip(space.others.items(), places, strict=True)}
