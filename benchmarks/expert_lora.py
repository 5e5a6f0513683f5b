"""What LoRA on fused experts costs, against peft in one process: ``python -m inarch_benchmarks.expert_lora``.

64 experts, of which 8 answer each token. The bare model, Inarch's adapter and peft's ``target_parameters`` are run in
turn, and each median is given as a multiple of the bare model's. Nothing here is a test: the figures go to
``benchmarks/results/expert_lora.json`` with the machine, the versions and the date.
"""

import copy
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import inarch

from .overhead import RANK
from .side_by_side import again, alternate, command, quartiles

RESULTS = Path(__file__).parent / "results" / "expert_lora.json"
EXPERTS = 64
CHOSEN = 8
TOKENS = (1, 64)
GOAL = 3.0
"""What one token through an adapted model may cost, as a multiple of the bare model's time."""


def mixture(width: int = 512) -> nn.Module:
    """One layer of 64 experts, shaped as Qwen3-MoE."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        vocab_size=1000,
        hidden_size=width,
        moe_intermediate_size=width // 2,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=width // 8,
        num_experts=EXPERTS,
        num_experts_per_tok=CHOSEN,
    )
    return Qwen3MoeForCausalLM(config).eval()  # type: ignore[no-any-return]


def with_inarch(base: nn.Module) -> nn.Module:
    """A copy with Inarch's LoRA on the experts."""
    model = copy.deepcopy(base)
    inarch.attach(model, "lora", rank=RANK, targets=("experts",))
    return model


def with_peft(base: nn.Module) -> Any:
    """A copy with peft's LoRA on the experts."""
    import peft

    parameters = ["experts.gate_up_proj", "experts.down_proj"]
    config = peft.LoraConfig(r=RANK, lora_alpha=16, target_modules=[], target_parameters=parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' deprecations are not what is measured
        return peft.get_peft_model(copy.deepcopy(base), config).eval()


def measure(base: nn.Module, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every operation, by operation and by who did it."""
    models = {"bare": base.requires_grad_(False), "inarch": with_inarch(base), "peft": with_peft(base)}
    seconds = {}
    for count in TOKENS:
        tokens = torch.randint(0, 1000, (1, count))
        runs = {who: _forward(model, tokens) for who, model in models.items()}
        seconds[f"forward, {count} token{'s' if count > 1 else ''}"] = alternate(runs, repeats)
    tokens = torch.randint(0, 1000, (1, TOKENS[-1]))
    # The bare model's step is that of its output embedding alone, which keeps the gradients of the experts' inputs.
    models["bare"].get_input_embeddings().requires_grad_(True)
    steps = {who: _step(model, tokens) for who, model in models.items()}
    seconds[f"train step, {TOKENS[-1]} tokens"] = alternate(steps, repeats)
    return seconds


def _forward(model: Any, tokens: Tensor) -> Callable[[], Callable[[], Any]]:
    def run() -> None:
        with torch.no_grad():
            model(tokens)

    return again(run)


def _step(model: Any, tokens: Tensor) -> Callable[[], Callable[[], Any]]:
    def run() -> None:
        model.zero_grad()
        model(tokens, labels=tokens).loss.backward()

    return again(run)


def summary(seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, Any]]:
    """A row for each operation: medians and quartiles in milliseconds, and medians as multiples of the bare model's."""
    rows = []
    for operation, times in seconds.items():
        medians = {who: statistics.median(values) for who, values in times.items()}
        rows.append(
            {
                "operation": operation,
                "multiple": {who: medians[who] / medians["bare"] for who in ("inarch", "peft")},
                "goal": GOAL if operation == "forward, 1 token" else None,
                "milliseconds": {who: 1e3 * median for who, median in medians.items()},
                "quartiles": {who: quartiles(values)[::2] for who, values in times.items()},
            }
        )
    return rows


def show(document: Mapping[str, Any]) -> Table:
    """The multiples."""
    table = Table(box=None, header_style="bold")
    for column in ("operation", "bare ms", "inarch", "peft", "goal"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    for row in document["results"]:
        multiples = (f"{row['multiple'][who]:.2f} x" for who in ("inarch", "peft"))
        goal = f"{row['goal']:g} x" if row["goal"] else "-"
        table.add_row(row["operation"], f"{row['milliseconds']['bare']:.2f}", *multiples, goal)
    return table


def measured(repeats: int) -> dict[str, Any]:
    """The results of so many rounds."""
    return {"experts": EXPERTS, "chosen": CHOSEN, "results": summary(measure(mixture(), repeats))}


def main() -> None:
    """Measure, write the results and print them."""
    command(__doc__, RESULTS, 15, measured, show)


if __name__ == "__main__":
    main()
