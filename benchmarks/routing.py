"""What a mixed batch costs beside the same batch with one adapter: ``python -m inarch_benchmarks.routing``.

Both are measured in turn in one process, for Inarch's ``route`` and for peft's ``adapter_names``: a batch inside
``route``, and a batch with entering it, when the parameters of the adapters are gathered. The figures go to
``benchmarks/results/routing.json``.
"""

import argparse
import copy
import json
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import inarch

from .overhead import RANK, alternate, llama, machine, quartiles, with_peft

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

        return lambda: run

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
            "inarch, entering and mixed": lambda: entered,
            "peft, one adapter": one(theirs),
            "peft, mixed": lambda: mixed_by_peft,
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

    adapted = with_peft(model, "all-linear")
    for name in names:
        adapted.add_adapter(name, peft.LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear"))
    return adapted.eval()


def main() -> None:
    """Measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="rounds of each operation")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; one gives the steadiest figures")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results are written")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # peft's and transformers' deprecations are not what is measured
    rows = [measure(tokens, options.repeats) for tokens in track(TOKENS, "measuring", console=Console(stderr=True))]
    document = {"machine": machine(), "repeats": options.repeats, "linears": 112, "results": rows}
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    if options.json:
        print(json.dumps(document, indent=2))  # noqa: T201 - the command's output
        return
    table = Table("tokens a row", *rows[0]["ratios"], "goal", box=None, header_style="bold")
    for row in rows:
        table.add_row(str(row["tokens"]), *(f"{ratio:.2f}" for ratio in row["ratios"].values()), f"{GOAL:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
