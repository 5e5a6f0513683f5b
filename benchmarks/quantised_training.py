"""A training step on a base in four bits, against peft: ``python -m inarch_benchmarks.quantised_training``.

In one process, both train LoRA on all linear maps of the same Llama shape, whose maps are bitsandbytes' Linear4bit of
the same bytes: peft as its users do, Inarch with its engine. The figures go to
``benchmarks/results/quantised_training.json``.
"""

import statistics
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
from inarch.engine.chunked_loss import ChunkedLoss
from inarch.engine.fused_products import FusedProducts
from inarch.engine.peak_bytes import PeakBytes

from .gpu.contenders.inarch import EveryBlock
from .side_by_side import again, alternate, command, quartiles

RESULTS = Path(__file__).parent / "results" / "quantised_training.json"
RANK = 16
VOCABULARY = 8192
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GOALS = {"step": 0.8, "memory": 0.9, "recomputation": 0.8}
"""The ratios to peft that are meant to be reached; a step is one with checkpointing as well as one without."""


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        dtype: Of the activations.
        tokens: In a batch of one row.
        checkpointing: Whether every block keeps only its input.
    """

    dtype: str
    tokens: int
    checkpointing: bool

    @property
    def name(self) -> str:
        """What the results call it."""
        return f"{self.dtype}, {self.tokens} tokens" + (", checkpointed" if self.checkpointing else "")

    def batch(self) -> dict[str, Tensor]:
        """One row of random tokens."""
        ids = torch.randint(0, VOCABULARY, (1, self.tokens), generator=torch.Generator().manual_seed(0))
        return {"input_ids": ids, "labels": ids}


SETTINGS = [
    Setting(dtype, tokens, checkpointing)
    for dtype in DTYPES
    for tokens in (128, 512)
    for checkpointing in (False, True)
]


def base(dtype: torch.dtype) -> Any:
    """The Llama shape, of width 1024 and 4 blocks, with its maps in bitsandbytes' NF4."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4, "num_attention_heads": 16}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, use_cache=False, **sizes)).to(dtype)
    for name, module in list(model.model.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, key = name.rpartition(".")
            setattr(model.model.get_submodule(parent), key, _four_bit(module, dtype))
    return model


def _four_bit(linear: nn.Linear, dtype: torch.dtype) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    layer: nn.Module = Linear4bit(
        linear.in_features, linear.out_features, bias=False, compute_dtype=dtype, quant_type="nf4"
    )
    weight = Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer.weight = weight.to("cpu")
    return layer


def of_peft(setting: Setting) -> Callable[[], None]:
    """A training step of peft."""
    from peft import LoraConfig, get_peft_model

    model = base(DTYPES[setting.dtype])
    targets = sorted({name.rpartition(".")[2] for name, _ in model.model.layers[0].named_modules() if "proj" in name})
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets))
    if setting.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return _step(model, setting.batch())


def of_inarch(setting: Setting) -> Callable[[], None]:
    """A training step of Inarch with its engine."""
    model = base(DTYPES[setting.dtype])
    inarch.attach(model, "lora", rank=RANK, alpha=2 * RANK)
    features = [FusedProducts(), ChunkedLoss(), *([EveryBlock()] if setting.checkpointing else [])]
    inarch.engine(model, setting.batch(), features=features)
    return _step(model, setting.batch())


CONTENDERS: dict[str, Callable[[Setting], Callable[[], None]]] = {"peft": of_peft, "inarch": of_inarch}


def _step(model: Any, batch: Mapping[str, Tensor]) -> Callable[[], None]:
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step() -> None:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def peak(step: Callable[[], None]) -> int:
    """The most bytes at once in a step beyond what lies there between steps."""
    step()
    with PeakBytes(torch.device("cpu")) as bytes_:
        step()
    return bytes_.peak


def measured(repeats: int) -> dict[str, Any]:
    """The results of every setting, each without and with checkpointing in turn."""
    rows, recomputation = [], {}
    pairs = list(zip(SETTINGS[::2], SETTINGS[1::2], strict=True))
    for pair in track(pairs, description="measuring", console=Console(stderr=True)):
        steps = {(make, setting): CONTENDERS[make](setting) for setting in pair for make in CONTENDERS}
        peaks = {key: peak(step) for key, step in steps.items()}
        timed = alternate({f"{make}, {setting.name}": again(step) for (make, setting), step in steps.items()}, repeats)
        seconds = dict(zip(steps, timed.values(), strict=True))
        rows += [_row(setting, seconds, peaks) for setting in pair]
        recomputation[pair[0].name] = _added(pair, seconds)
    return {"rank": RANK, "goals": GOALS, "rows": rows, "recomputation": recomputation}


Key = tuple[str, Setting]


def _row(setting: Setting, seconds: Mapping[Key, list[float]], peaks: Mapping[Key, int]) -> dict[str, Any]:
    medians = {name: statistics.median(seconds[name, setting]) for name in CONTENDERS}
    return {
        "setting": setting.name,
        "milliseconds": {name: quartiles(seconds[name, setting]) for name in CONTENDERS},
        "ratio": medians["inarch"] / medians["peft"],
        "peak bytes": {name: peaks[name, setting] for name in CONTENDERS},
        "memory": peaks["inarch", setting] / peaks["peft", setting],
    }


def _added(pair: tuple[Setting, Setting], seconds: Mapping[Key, list[float]]) -> float:
    """What checkpointing adds in a round, in the median, as a ratio to what it adds to peft's step."""
    added: dict[str, float] = {
        name: statistics.median(b - a for a, b in zip(*(seconds[name, setting] for setting in pair), strict=True))
        for name in CONTENDERS
    }
    return added["inarch"] / added["peft"]


def table(document: dict[str, Any]) -> Table:
    """The results as a table."""
    drawn = Table("", "peft", "inarch", "ratio", "peak memory, ratio", title="a training step in NF4, milliseconds")
    for row in document["rows"]:
        medians = [f"{row['milliseconds'][name][1]:.0f}" for name in ("peft", "inarch")]
        drawn.add_row(row["setting"], *medians, f"{row['ratio']:.3f}", f"{row['memory']:.3f}")
    for setting, ratio in document["recomputation"].items():
        drawn.add_row(f"checkpointing adds, {setting}", "", "", f"{ratio:.3f}", "")
    return drawn


if __name__ == "__main__":
    command(__doc__, RESULTS, 7, measured, table)
