"""The decoding stage: tokens a second of ``generate`` for one sequence, with a static cache and CUDA graphs."""

import statistics
import time
from typing import Any

import torch

import inarch

from .build import as_bitsandbytes, as_inarch, batch, build
from .cell import Cell
from .scale import Scale
from .shapes import SHAPES
from .timing import forget_peaks, peaks, synchronise
from .worker import Context, Outcome

KINDS = ("nf4", "bf16", "int8")
WHO = ("Inarch", "peft + bitsandbytes")
WAYS = ("static", "dynamic")
"""``static``: a static cache, the forward pass compiled and replayed as a CUDA graph; ``dynamic``: the default."""

REPEATS = 3


def cells(scale: Scale) -> list[Cell]:
    """Every kind of weight, each by both, in both ways."""
    return [_cell(scale.main, kind, way, who) for way in WAYS for kind in KINDS for who in WHO]


def _cell(shape: str, kind: str, way: str, who: str) -> Cell:
    name = f"{kind}/{way}/{who}"
    return Cell("decoding", f"{shape}/{name}", {"kind": kind, "way": way, "who": who}, name)


def measure(settings: dict[str, Any], context: Context) -> Outcome:
    """One of them."""
    scale = context.scale
    model = _adapted(settings["kind"], settings["who"], context).eval()
    prompt = batch(SHAPES[scale.main], 1, scale.prompt, context.device)["input_ids"]
    arguments: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    arguments["attention_mask"] = torch.ones_like(prompt)
    if settings["way"] == "static":
        from transformers import CompileConfig

        arguments["cache_implementation"] = "static"
        if context.device.type == "cuda":
            arguments["compile_config"] = CompileConfig(mode="reduce-overhead", fullgraph=False)
        else:
            arguments["disable_compile"] = True

    def seconds(number: int) -> float:
        synchronise(context.device)
        begin = time.perf_counter()
        with torch.no_grad():
            output = model.generate(prompt, max_new_tokens=number, min_new_tokens=number, **arguments)
        synchronise(context.device)
        if output.shape[1] != prompt.shape[1] + number:
            raise RuntimeError(f"{output.shape[1] - prompt.shape[1]} tokens were generated instead of {number}")
        return time.perf_counter() - begin

    forget_peaks(context.device)
    few = max(2, scale.generated // 4)
    first = [seconds(scale.generated), seconds(few)]  # compiles, and records the graphs
    # The prompt and what generate does around it take the same for few tokens as for many.
    each = [(seconds(scale.generated) - seconds(few)) / (scale.generated - few) for _ in range(REPEATS)]
    return {
        "tokens_per_second": 1 / statistics.median(each),
        "milliseconds_per_token": [1e3 * time_ for time_ in each],
        "seconds_before": sum(first),
        "compiled": settings["way"] == "static" and context.device.type == "cuda",
        "graph_breaks": _graph_breaks(),
        "peak": peaks(context.device),
    }


def _graph_breaks() -> int:
    from torch._dynamo.utils import counters

    return sum(counters["graph_break"].values())


def _adapted(kind: str, who: str, context: Context) -> Any:
    shape, rank = SHAPES[context.scale.main], context.scale.rank
    if who == "Inarch":
        model = build(shape, kind, as_inarch, context.device)
        inarch.attach(model, "lora", rank=rank, alpha=rank)
        return model
    import peft

    model = build(shape, kind, as_bitsandbytes, context.device)
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = kind == "nf4", kind == "int8"
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(shape.linears))
    return peft.get_peft_model(model, config)
