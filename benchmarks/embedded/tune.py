"""How the learning rates of the contenders were chosen: ``python -m inarch_benchmarks.embedded.tune``.

Every rate of a grid is tried on the validation digits, at seeds that the demo does not use, and the best mean wins.
Each contender tries equally many rates.
"""

from dataclasses import replace
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table

from inarch_benchmarks.embedded.adaptation import Contender, adapt
from inarch_benchmarks.embedded.base import Pretraining, pretrained_base
from inarch_benchmarks.embedded.contenders import CONTENDERS

SEEDS = range(100, 104)

FACTORS = (0.5, 1.0, 2.0)
"""The grid: these times the rate that stands in ``CONTENDERS``; move that rate until the best factor is 1."""


def main() -> None:
    """Print the mean validation accuracy of every contender at every rate of the grid."""
    torch.set_num_threads(1)
    weights = pretrained_base(Pretraining()).weights()
    console = Console()
    table = Table("contender", *(f"x {factor:g}" for factor in FACTORS))
    for contender in CONTENDERS:
        scores = [_score(contender, factor, weights) for factor in FACTORS]
        console.print(f"{contender.name}: rate {contender.learning_rate:g}: {scores}", highlight=False)
        table.add_row(contender.name, *(f"{score:.3f}" for score in scores))
    console.print(table)


def _score(contender: Contender, factor: float, weights: dict[str, torch.Tensor]) -> float:
    tried = replace(contender, learning_rate=factor * contender.learning_rate)
    return round(fmean(adapt(tried, seed, weights, on_validation=True).accuracy for seed in SEEDS), 4)


if __name__ == "__main__":
    main()
