"""The features stage: every kernel and every feature of the engine, with what it was predicted to gain and what it did.

A line is measured by what is there with it and without it, in one process. ``table.py`` makes the table of the lines.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inarch.engine.feature import Declined, Feature
from inarch.engine.fused_products import FusedProducts
from inarch.engine.offload import Offload
from inarch.kernels import CODEBOOKS, FourBit, Int8, reference

from .build import batch
from .cell import Cell
from .contenders import Unavailable
from .contenders.inarch import AttentionKept, EveryBlock, Inarch
from .contenders.inarch import without_plan as features
from .scale import Scale
from .shapes import SHAPES
from .timing import milliseconds, run_steps
from .training import contender
from .worker import Context, Outcome

RESULTS = Path(__file__).parent.parent / "results"

FP8, OFFLOAD = "fp8 products", "inputs in host memory"

WORTH = 1.02
"""What a line must gain, in time or memory, to be kept: more than measurements differ among themselves."""


@dataclass(frozen=True)
class Line:
    """A kernel or a feature.

    Attributes:
        name: What it is called.
        predicted: What it was predicted to gain before it was measured, and from what.
        kind: ``kernel`` or ``feature``.
        on_a_cpu: What was measured on a CPU, where no stage measures it on a GPU.
        kept: Whether it was kept for that.
    """

    name: str
    predicted: str
    kind: str
    on_a_cpu: str = ""
    kept: bool = True


LINES = tuple(
    Line(name, predicted, kind)
    for kind, name, predicted in (
        ("kernel", "dequantise_4bit", "1.10x bitsandbytes: 2.52 bytes a parameter instead of 2.77"),
        (
            "kernel",
            "dequantise_4bit_plus",
            "1.8x dequantising, then adding B A: the weight is written once",
        ),
        ("kernel", "dequantise_int8", "3x plain torch: 3 bytes a parameter in one pass instead of 15 in three"),
        ("kernel", "dequantise_int8_plus", "2x dequantising, then adding B A"),
        ("kernel", "quantise_4bit", "5x plain torch: 2.5 bytes a parameter in one pass instead of about 30 in ten"),
        ("kernel", "quantise_int8", "3x plain torch: 5 bytes a parameter in two passes instead of 17 in five"),
        ("kernel", "requantise_4bit_fp8", "2x plain torch's passes"),
        ("feature", "fused products", "1.15x: no adapter traffic forward, 2.4 us a token backward instead of 12.8"),
        ("feature", "chunked loss", "1.02x, and 3.2 GB less memory for 8192 tokens of 128,256 logits in float32"),
        ("feature", "Liger", "1.05x: one pass instead of six for each norm, one instead of two for each gate"),
        ("feature", "every block checkpointed", "1.45x slower, for the memory of the blocks' activations"),
        ("feature", "attention kept", "1.04x beside all blocks checkpointed: attention is not computed again"),
        ("feature", FP8, "1.15x beside fused products: e4m3 at twice the rate in a third of the products"),
        ("feature", OFFLOAD, "1.00x beside all blocks checkpointed, and 2.1 GB less for 8192 tokens of 32 blocks"),
        ("feature", "checkpoint plan", "1.45x beside all blocks checkpointed, where memory allows"),
    )
)


def every_line() -> tuple[Line, ...]:
    """What is built, and what was dropped for what it would have gained on a CPU."""
    return (*LINES, _recomputation(), _flat_buffer())


def _recomputation() -> Line:
    """The last product of a block left out, and weights kept from the recomputation to the backward pass."""
    ratios = json.loads((RESULTS / "quantised_training.json").read_text())["recomputation"].values()
    told = f"{min(ratios):.2f} to {max(ratios):.2f} of what it adds to peft's step, on a CPU (quantised_training.json)"
    predicted = (
        "0.7 of a recomputation: its last product has 27 % of the weights of a Llama block, and of three "
        "dequantisations of a weight two stay"
    )
    return Line("recomputation of fused products", predicted, "feature", told)


def _flat_buffer() -> Line:
    """All adapter parameters as views of one tensor."""
    fused = json.loads((RESULTS / "optimizer.json").read_text())["results"]["fused"]
    many, flat = (fused["milliseconds"][f"launch-bound, {name}"][1] for name in ("many", "flat"))
    told = (
        f"{fused['gain']:.2f}x in the optimizer's own step on a CPU; what depends on the number of tensors takes "
        f"{many - flat:.1f} ms a step (optimizer.json)"
    )
    predicted = "1.00x to 1.06x: fused AdamW is a dozen launches for 448 tensors, and would be one"
    return Line("flat optimizer buffer", predicted, "feature", told, kept=False)


def line(name: str) -> Line:
    """The line of a feature, whose name may have been written otherwise."""
    (found,) = [each for each in LINES if each.name.lower() == name.lower()] or [Line(name, "no prediction", "feature")]
    return found


def cells(scale: Scale) -> list[Cell]:
    """Kernels in one process, features in another."""
    found = [Cell("features", f"kernel/{name}", {"kernel": name}, "kernels") for name in KERNELS]
    names = [feature.name for feature in features()]
    for name in (*names, FP8, EveryBlock.name, OFFLOAD, "attention kept", "checkpoint plan"):
        found.append(Cell("features", f"feature/{line(name).name}", {"feature": name}, "features"))
    return found


def measure(settings: dict[str, Any], context: Context) -> Outcome:
    """One line."""
    found = _kernel(settings["kernel"], context) if "kernel" in settings else _feature(settings["feature"], context)
    gain = max((found["gain"], found.get("memory_gain", 0.0)))
    return {**found, "kept": gain >= WORTH}


def _kernel(name: str, context: Context) -> Outcome:
    with_it, without, against = KERNELS[name](context)
    times = {"with": milliseconds(with_it, context.device), "without": milliseconds(without, context.device)}
    parameters = context.scale.weight[0] * context.scale.weight[1]
    return {
        "gain": times["without"] / times["with"],
        "against": against,
        "milliseconds": times,
        "nanoseconds_per_parameter": 1e6 * times["with"] / parameters,
    }


Work = Callable[[], Any]
Compared = tuple[Work, Work, str]


def _four_bit(context: Context) -> FourBit:
    weight = torch.randn(context.scale.weight, device=context.device, dtype=torch.bfloat16) * 0.02
    return FourBit.quantise(weight)


def _int8(context: Context) -> Int8:
    return Int8.quantise(torch.randn(context.scale.weight, device=context.device, dtype=torch.bfloat16) * 0.02)


def _factors(context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = context.scale.weight
    sizes = ((rows, context.scale.rank), (context.scale.rank, columns))
    B, A = (torch.randn(size, device=context.device, dtype=torch.bfloat16) for size in sizes)
    return B, A


def _dequantise_4bit(context: Context) -> Compared:
    from bitsandbytes import functional
    from bitsandbytes.functional import QuantState

    stored = _four_bit(context)
    tensors = stored.tensors()
    packed = tensors.pop("")
    state = QuantState.from_dict({f"weight.{name}": each for name, each in tensors.items()}, context.device)
    out = torch.empty(stored.shape, dtype=torch.bfloat16, device=context.device)
    theirs = torch.empty_like(out) if context.device.type == "cuda" else None  # elsewhere it takes none
    return (
        lambda: stored.dequantise(out=out),
        lambda: functional.dequantize_4bit(packed, state, out=theirs),
        "bitsandbytes",
    )


def _plus(stored: FourBit | Int8, context: Context) -> Compared:
    B, A = _factors(context)
    out = torch.empty(stored.shape, dtype=torch.bfloat16, device=context.device)
    return (
        lambda: stored.plus(B, A, out=out),
        lambda: stored.dequantise(out=out).addmm_(B, A),
        "dequantising, then torch.addmm",
    )


def _dequantise_int8(context: Context) -> Compared:
    stored = _int8(context)
    out = torch.empty(stored.shape, dtype=torch.bfloat16, device=context.device)
    return (
        lambda: stored.dequantise(out=out),
        lambda: (stored.weight * (stored.scales / 127).unsqueeze(1)).to(torch.bfloat16),
        "plain torch",
    )


def _fp8(context: Context) -> Compared:
    stored = _four_bit(context)

    def plain() -> Any:
        values = stored.dequantise(torch.float32)
        scales = values.abs().amax(dim=1) / 448
        return (values / scales.unsqueeze(1)).to(torch.float8_e4m3fn), scales

    return stored.to_fp8, plain, "plain torch"


def _quantise(context: Context, kind: type[FourBit] | type[Int8]) -> Compared:
    weight = torch.randn(context.scale.weight, device=context.device, dtype=torch.bfloat16) * 0.02
    if kind is Int8:
        return lambda: Int8.quantise(weight), lambda: reference.quantise_int8(weight), "plain torch"
    code = CODEBOOKS["nf4"].to(context.device)
    return (
        lambda: FourBit.quantise(weight, double=False),
        lambda: reference.quantise_4bit(weight, code, 64),
        "plain torch",
    )


KERNELS: dict[str, Callable[[Context], Compared]] = {
    "dequantise_4bit": _dequantise_4bit,
    "dequantise_4bit_plus": lambda context: _plus(_four_bit(context), context),
    "dequantise_int8": _dequantise_int8,
    "dequantise_int8_plus": lambda context: _plus(_int8(context), context),
    "quantise_4bit": lambda context: _quantise(context, FourBit),
    "quantise_int8": lambda context: _quantise(context, Int8),
    "requantise_4bit_fp8": _fp8,
}
"""By name, what makes the work with the kernel, that without it, and what the latter is."""


_INSTEAD: dict[str, tuple[Callable[[], list[Feature]], Callable[[], list[Feature]]]] = {
    FP8: (lambda: [FusedProducts(fp8=True), EveryBlock()], lambda: [FusedProducts(), EveryBlock()]),
    OFFLOAD: (lambda: [EveryBlock(Offload().keep_input)], lambda: [EveryBlock()]),
}
"""By name, the engine's features with it and those without, where it stands in the place of another."""


def _feature(name: str, context: Context) -> Outcome:
    """A training step with one feature alone and with none, every block checkpointed where that is not the question.

    What changes checkpointing is compared on top of all other features, as it is used.
    """
    about_checkpointing = name in (EveryBlock.name, "attention kept", "checkpoint plan")
    if about_checkpointing:
        named = {EveryBlock.name: "Inarch, same checkpointing", "attention kept": AttentionKept.name,
                   "checkpoint plan": "Inarch, memory to spare"}  # fmt: skip
        against = "Inarch, all features, no checkpointing" if name == EveryBlock.name else "Inarch, same checkpointing"
        after = _run(named[name], context, None)
        before = _run("Inarch, memory to spare" if name == EveryBlock.name else against, context, None)
    elif name in _INSTEAD:
        with_it, without = (make() for make in _INSTEAD[name])
        against = "the same without it, every block checkpointed"
        before, after = (_run("Inarch, no engine", context, chosen) for chosen in (without, with_it))
    else:
        against = "the same without it, every block checkpointed"
        before = _run("Inarch, no engine", context, [EveryBlock()])
        after = _run("Inarch, no engine", context, [*(f for f in features() if f.name == name), EveryBlock()])
    found: Outcome = {
        "gain": after["tokens_per_second"] / before["tokens_per_second"],
        "against": against,
        "tokens_per_second": {"with": after["tokens_per_second"], "without": before["tokens_per_second"]},
        "peak": {"with": after["peak"], "without": before["peak"]},
        "report": after["report"],
    }
    if after["peak"]["allocated"]:
        found["memory_gain"] = before["peak"]["allocated"] / after["peak"]["allocated"]
    return found


def _run(name: str, context: Context, chosen: list[Any] | None) -> Outcome:
    """Steps of a contender; with ``chosen`` features, and no probe between them, instead of its own."""
    scale = context.scale
    sequence, rows = scale.grid[0]
    subject = contender({"shape": scale.main, "contender": name}, context, scale.rank, sequence)
    assert isinstance(subject, Inarch)
    example = batch(SHAPES[scale.main], rows, sequence, context.device)
    if chosen is None:
        report = subject.start(example)
        try:
            return {"report": report, **run_steps(subject, example, scale.warm_up, scale.steps)}
        finally:
            subject.stop()
    begun = []
    try:
        for feature in chosen:
            try:
                begun.append((feature, feature.start(subject.model, example)))
            except Declined as reason:
                raise Unavailable(f"{feature.name} cannot be used: {reason}") from reason
        report = "\n".join(f"{feature.name}: {text}" for feature, text in begun)
        return {"report": report, **run_steps(subject, example, scale.warm_up, scale.steps)}
    finally:
        for feature, _ in reversed(begun):
            feature.stop(subject.model)
