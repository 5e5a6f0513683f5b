"""What an adapter costs beside its arithmetic, against peft in one process: ``python -m inarch_benchmarks.overhead``.

Each operation is done alternately by Inarch and by peft on models of the same shape, and the ratio of the medians is
the result; the bare model runs beside them where the overhead over it is what counts. Nothing here is a test: the
figures go to ``benchmarks/results/overhead.json`` with the machine, the versions and the date.
"""

import argparse
import copy
import gc
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import inarch

RESULTS = Path(__file__).parent / "results" / "overhead.json"
RANK = 8
PACKAGES = ("inarch", "peft", "torch", "transformers", "safetensors")

# The ratio to peft that each operation is meant to reach.
GOALS = {
    "attach": 0.1,
    "one-token forward, overhead over the bare model": 0.5,
    "disable": 0.05,
    "save": 0.2,
    "load": 0.2,
}


@dataclass(frozen=True)
class Subject:
    """A model to adapt.

    Attributes:
        name: What the results call it.
        make: Makes the model.
        targets: The linear maps to adapt, as peft names them.
        one: One token for it.
        batch: A batch to train on.
        loss: The loss of an output.
    """

    name: str
    make: Callable[[], nn.Module]
    targets: str
    one: Tensor
    batch: Tensor
    loss: Callable[[Any], Tensor]


class Chain(nn.Module):
    """448 linear maps of 16 x 16, one after the other: whatever is paid for a module is paid 448 times."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(16, 16) for _ in range(448))

    def forward(self, x: Tensor) -> Tensor:
        """Through all of them."""
        for linear in self.linears:
            x = linear(x)
        return x


def llama() -> nn.Module:
    """16 layers of 7 linear maps, shaped as Llama, of width 256."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=16,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=1000,
    )
    return LlamaForCausalLM(config)  # type: ignore[no-any-return]


def subjects() -> list[Subject]:
    """The models that are measured."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 1000, (4, 64))
    vectors = torch.randn(64, 16)
    return [
        Subject("Llama shape, 112 linears", llama, "all-linear", tokens[:1, :1], tokens, lambda out: out.logits.mean()),
        Subject("448 linears of 16 x 16", Chain, r"linears\.\d+", vectors[:1], vectors, lambda out: out.mean()),
    ]


def with_peft(model: nn.Module, targets: str) -> Any:
    """The model adapted by peft."""
    import peft

    return peft.get_peft_model(model, peft.LoraConfig(r=RANK, lora_alpha=16, target_modules=targets))


def alternate(operations: Mapping[str, Callable[[], Callable[[], Any]]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each operation, done in turn ``repeats`` times after one round that is not counted.

    Args:
        operations: By name, what prepares the operation and returns it; the preparation is not timed.
        repeats: How many rounds count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in operations}
    with _without_collector():
        for turn in range(repeats + 1):
            for name, prepare in operations.items():
                run = prepare()
                start = time.perf_counter()
                run()
                spent = time.perf_counter() - start
                if turn:
                    seconds[name].append(spent)
    return seconds


def measure(subject: Subject, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every operation on one model, by operation and by who did it."""
    import peft

    base = subject.make().eval()
    ours, theirs = copy.deepcopy(base), with_peft(copy.deepcopy(base), subject.targets).eval()
    adapter = inarch.attach(ours, "lora", rank=RANK)

    def fresh(work: Callable[[nn.Module], Any]) -> Callable[[], Callable[[], Any]]:
        def prepare() -> Callable[[], Any]:
            gc.collect()  # the adapted models before it, whose parts refer to one another
            model = copy.deepcopy(base)
            return lambda: work(model)

        return prepare

    def again(work: Callable[[], Any]) -> Callable[[], Callable[[], Any]]:
        return lambda: work

    def switch(context: Callable[[], Any]) -> Callable[[], Callable[[], Any]]:
        def run() -> None:
            with context():
                pass

        return again(run)

    def forward(model: Any) -> Callable[[], Callable[[], Any]]:
        def run() -> None:
            with torch.no_grad():
                model(subject.one)

        return again(run)

    def step(model: Any) -> Callable[[], Callable[[], Any]]:
        def run() -> None:
            subject.loss(model(subject.batch)).backward()

        return again(run)

    with tempfile.TemporaryDirectory() as folder:
        mine, yours = f"{folder}/inarch", f"{folder}/peft"
        adapter.save(mine)
        theirs.save_pretrained(yours)
        many, few = 4 * repeats, max(3, repeats // 2)
        return {
            "attach": alternate(
                {
                    "inarch": fresh(lambda model: inarch.attach(model, "lora", rank=RANK)),
                    "peft": fresh(lambda model: with_peft(model, subject.targets)),
                },
                repeats,
            ),
            "one-token forward": alternate(
                {"bare": forward(base), "inarch": forward(ours), "peft": forward(theirs)}, many
            ),
            "train step": alternate({"inarch": step(ours.train()), "peft": step(theirs.train())}, few),
            "disable": alternate({"inarch": switch(adapter.disabled), "peft": switch(theirs.disable_adapter)}, many),
            "save": alternate(
                {"inarch": again(lambda: adapter.save(mine)), "peft": again(lambda: theirs.save_pretrained(yours))},
                repeats,
            ),
            "load": alternate(
                {
                    "inarch": fresh(lambda model: inarch.load(model, mine)),
                    "peft": fresh(lambda model: peft.PeftModel.from_pretrained(model, yours)),
                },
                repeats,
            ),
        }


def summary(seconds: Mapping[str, Mapping[str, list[float]]]) -> list[dict[str, Any]]:
    """A row for each operation: medians and quartiles in milliseconds, and the ratio of the medians."""
    rows = []
    for operation, times in seconds.items():
        medians = {who: statistics.median(values) for who, values in times.items()}
        bare = medians.get("bare", 0.0)
        name = f"{operation}, overhead over the bare model" if bare else operation
        rows.append(
            {
                "operation": name,
                "ratio": (medians["inarch"] - bare) / (medians["peft"] - bare),
                "goal": GOALS.get(name),
                "milliseconds": {who: 1e3 * median for who, median in medians.items()},
                "quartiles": {who: quartiles(values)[::2] for who, values in times.items()},
            }
        )
    return rows


def quartiles(seconds: Sequence[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile, in milliseconds."""
    return [1e3 * quartile for quartile in statistics.quantiles(seconds, n=4)]


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.split(": ")[1] for line in cpu.read_text().splitlines() if "model name" in line] if cpu.exists() else []
    )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def show(results: Mapping[str, list[dict[str, Any]]], console: Console) -> None:
    """Print the ratios."""
    table = Table(box=None, header_style="bold")
    for column in ("model", "operation", "inarch ms", "peft ms", "ratio", "goal"):
        table.add_column(column, justify="left" if column in {"model", "operation"} else "right")
    for name, rows in results.items():
        for row in rows:
            spent, goal = row["milliseconds"], row["goal"]
            times = (f"{spent['inarch']:.3f}", f"{spent['peft']:.3f}")
            table.add_row(name, row["operation"], *times, f"{row['ratio']:.3f}", f"{goal:g}" if goal else "-")
    console.print(table)


@contextmanager
def _without_collector() -> Any:
    """No garbage collection inside, as in ``timeit``; collecting before every call would empty the caches for it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def main() -> None:
    """Measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="rounds of each operation")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; one gives the steadiest figures")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results are written")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # peft's and transformers' deprecations are not what is measured
    progress = Console(stderr=True)
    results = {
        subject.name: summary(measure(subject, options.repeats))
        for subject in track(subjects(), description="measuring", console=progress)
    }
    document = {"machine": machine(), "repeats": options.repeats, "results": results}
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    if options.json:
        print(json.dumps(document, indent=2))  # noqa: T201 - the command's output
    else:
        show(results, Console())


if __name__ == "__main__":
    main()
