"""What an adapter costs beside its arithmetic, against peft in one process: ``python -m inarch_benchmarks.overhead``.

Each operation is done alternately by Inarch and by peft on models of the same shape, and the ratio of the medians is
the result; the bare model runs beside them where the overhead over it is what counts. Nothing here is a test: the
figures go to ``benchmarks/results/overhead.json`` with the machine, the versions and the date.
"""

import copy
import gc
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import inarch

from .side_by_side import again, alternate, command, quartiles

RESULTS = Path(__file__).parent / "results" / "overhead.json"
RANK = 8

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


def show(document: Mapping[str, Any]) -> Table:
    """The ratios."""
    table = Table(box=None, header_style="bold")
    for column in ("model", "operation", "inarch ms", "peft ms", "ratio", "goal"):
        table.add_column(column, justify="left" if column in {"model", "operation"} else "right")
    for name, rows in document["results"].items():
        for row in rows:
            spent, goal = row["milliseconds"], row["goal"]
            times = (f"{spent['inarch']:.3f}", f"{spent['peft']:.3f}")
            table.add_row(name, row["operation"], *times, f"{row['ratio']:.3f}", f"{goal:g}" if goal else "-")
    return table


def measured(repeats: int) -> dict[str, Any]:
    """The results of so many rounds on every model."""
    models = track(subjects(), description="measuring", console=Console(stderr=True))
    return {"results": {subject.name: summary(measure(subject, repeats)) for subject in models}}


def main() -> None:
    """Measure, write the results and print them."""
    command(__doc__, RESULTS, 15, measured, show)


if __name__ == "__main__":
    main()
