"""What a mixed batch costs beside the same batch with one adapter: ``python -m inarch_benchmarks.routing``.

Both are measured in turn in one process, for Inarch's ``route`` and for peft's ``adapter_names``: a batch inside
``route``, and a batch with entering it, when the parameters of the adapters are gathered. The figures go to
``benchmarks/results/routing.json``.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import inarch

from .overhead import RANK, llama, with_peft
from .side_by_side import again, alternate, command, quartiles

RESULTS = Path(__file__).parent / "results" / "routing.json"
ROWS = 8
TOKENS = (1, 16, 64)
GOAL = 1.5


def measure(tokens: int, repeats: int) -> dict[str, Any]:
    """The row of the results for batches of ``ROWS`` rows of ``tokens`` tokens."""
    torch.manual_seed(0)
    base = llama().eval()
    batch = torch.randint(0, 1000, (ROWS, tokens))
    names = [f"adapter{row}" for row in range(ROWS)]
    ours, theirs = copy.deepcopy(base), _peft(copy.deepcopy(base), names)
    for name in names:
        inarch.attach(ours, "lora", name=name, rank=RANK)
    inarch.activate(ours, names[0])
    theirs.set_adapter(names[0])

    def one(model: Any) -> Callable[[], Callable[[], Any]]:
        def run() -> None:
            with torch.no_grad():
                model(batch)

        return again(run)

    def entered() -> None:
        with torch.no_grad(), inarch.route(ours, names):
            ours(batch)

    def mixed() -> Callable[[], Any]:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(inarch.route(ours, names))
            ours(batch)
            inside = stack.pop_all()

        def run() -> None:
            with inside:
                ours(batch)

        return run

    def mixed_by_peft() -> None:
        with torch.no_grad():
            theirs(input_ids=batch, adapter_names=names)

    seconds = alternate(
        {
            "inarch, one adapter": one(ours),
            "inarch, mixed": mixed,
            "inarch, entering and mixed": again(entered),
            "peft, one adapter": one(theirs),
            "peft, mixed": again(mixed_by_peft),
        },
        repeats,
    )
    found = {who: quartiles(times) for who, times in seconds.items()}
    ratios = {
        who: found[who][1] / found[f"{who.split(',')[0]}, one adapter"][1] for who in found if who.endswith("mixed")
    }
    return {"tokens": tokens, "rows": ROWS, "adapters": ROWS, "ratios": ratios, "goal": GOAL, "milliseconds": found}


def _peft(model: Any, names: list[str]) -> Any:
    import peft

    config = peft.LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' deprecations are not what is measured
        adapted = with_peft(model, "all-linear")
        for name in names:
            adapted.add_adapter(name, config)
    return adapted.eval()


def show(document: Mapping[str, Any]) -> Table:
    """The ratios to one adapter's time."""
    rows = document["results"]
    table = Table("tokens a row", *rows[0]["ratios"], "goal", box=None, header_style="bold")
    for row in rows:
        table.add_row(str(row["tokens"]), *(f"{ratio:.2f}" for ratio in row["ratios"].values()), f"{GOAL:g}")
    return table


def measured(repeats: int) -> dict[str, Any]:
    """The results of so many rounds."""
    lengths = track(TOKENS, "measuring", console=Console(stderr=True))
    return {"linears": 112, "results": [measure(tokens, repeats) for tokens in lengths]}


def main() -> None:
    """Measure, write the results and print them."""
    command(__doc__, RESULTS, 30, measured, show)


if __name__ == "__main__":
    main()
