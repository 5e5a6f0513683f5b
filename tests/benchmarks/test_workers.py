from pathlib import Path

import pytest

from inarch_benchmarks.comparison.surroundings import processors
from inarch_benchmarks.embedded.adaptation import Run
from inarch_benchmarks.embedded.base import pretrained_base
from inarch_benchmarks.embedded.contenders import CONTENDERS
from inarch_benchmarks.embedded.experiment import quick_experiment
from inarch_benchmarks.embedded.workers import Job, run_jobs


@pytest.mark.thorough
def test_another_process_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path))
    base = pretrained_base(quick_experiment(1).pretraining).folder
    jobs = [Job(CONTENDERS[0], 0, steps=1)]  # one, since each process takes seconds to import torch
    done: list[Run] = []
    (apart,) = run_jobs(jobs, base, workers=2, on_done=done.append)
    (here,) = run_jobs(jobs, base, workers=1, on_done=done.append)
    assert (apart.contender, apart.accuracy) == (here.contender, here.accuracy)
    assert done == [apart, here]


def test_there_is_a_processor() -> None:
    assert processors() >= 1
