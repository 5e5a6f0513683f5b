"""The correctness stage: kernels and engine on the GPU against plain torch on the CPU, float64 and bitsandbytes.

A check passes or fails; one that says how far something of others lies from ours has no verdict.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import inarch
from inarch.engine.probe import difference
from inarch.engine.probe import measure as probe
from inarch.kernels import FourBit, Int8
from inarch.quant import FourBitLinear, Int8Linear

from .build import as_inarch, batch, build
from .cell import Cell
from .contenders.inarch import EveryBlock, without_plan
from .scale import Scale
from .shapes import SHAPES
from .worker import Context, Outcome

Check = dict[str, Any]

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
ROUNDING = {torch.bfloat16: 1.01 * 2.0**-8, torch.float16: 1.01 * 2.0**-11, torch.float32: 1e-5}
"""How far a sum may lie from its exact value, relative to the magnitudes of what is added: half a unit in the last
place, and a hundredth of that for the addition in float32."""


def cells(scale: Scale) -> list[Cell]:
    """One for each group of checks, in one process."""
    return [Cell("correctness", name, {"checks": name}) for name in GROUPS]


def measure(settings: dict[str, Any], context: Context) -> Outcome:
    """A group of checks."""
    checks = list(GROUPS[settings["checks"]](context))
    failed = [check["name"] for check in checks if check["passed"] is False]
    return {"passed": not failed, "failed": failed, "number": len(checks), "checks": checks}


def _check(name: str, passed: bool | None, **found: Any) -> Check:
    return {"name": name, "passed": passed, **found}


def _weight(shape: tuple[int, int]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.05


def _stored(shape: tuple[int, int]) -> Iterator[tuple[str, FourBit | Int8]]:
    """A weight in every format, on the CPU."""
    for kind in ("nf4", "fp4"):
        for double in (False, True):
            yield f"{kind}{', double' if double else ''}", FourBit.quantise(_weight(shape), kind, double=double)
    yield "int8", Int8.quantise(_weight(shape))


def _dequantise(context: Context) -> Iterator[Check]:
    """Equal to plain torch on the CPU, to the bit; into a buffer too."""
    for shape in context.scale.weights:
        for kind, stored in _stored(shape):
            there = stored.to(context.device)
            for dtype in DTYPES:
                expected = stored.dequantise(dtype)
                out = torch.full(shape, float("nan"), dtype=dtype, device=context.device)
                for way, found in (("", there.dequantise(dtype)), (" into", there.dequantise(out=out))):
                    differing = int((found.cpu() != expected).sum())
                    yield _check(f"{kind} {shape} {dtype}{way}", differing == 0, differing=differing)


def _bitsandbytes(context: Context) -> Iterator[Check]:
    """The same bytes dequantised by bitsandbytes, and its quantisation beside ours."""
    from bitsandbytes import functional

    for shape in context.scale.weights:
        for kind in ("nf4", "fp4"):
            weight = _weight(shape).to(context.device, torch.bfloat16)
            packed, state = functional.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type=kind)
            ours = FourBit.from_tensors({"": packed, **state.as_dict(packed=True)}, "weight")
            theirs = functional.dequantize_4bit(packed, state)
            differing = int((ours.dequantise(torch.bfloat16) != theirs).sum())
            yield _check(f"{kind} {shape} dequantised as bitsandbytes does", differing == 0, differing=differing)
            own = FourBit.quantise(weight, kind)
            codes = int((own.packed.reshape(-1) != packed.reshape(-1)).sum())
            yield _check(f"{kind} {shape} bytes that bitsandbytes quantises otherwise", None, differing=codes)


def _low_rank(context: Context) -> Iterator[Check]:
    """``W + B A`` against float64, within the rounding of the result's dtype."""
    generator = torch.Generator().manual_seed(0)
    for shape in context.scale.weights:
        for rank in (1, 16, 64):
            B, A = (torch.randn(size, generator=generator) / rank for size in ((shape[0], rank), (rank, shape[1])))
            for kind, stored in _stored(shape):
                for dtype in DTYPES:
                    b, a = (each.to(context.device, dtype) for each in (B, A))
                    found = stored.to(context.device).plus(b, a, dtype).cpu().double()
                    low_rank = b.cpu().double() @ a.cpu().double()
                    expected = stored.dequantise(torch.float32).double() + low_rank
                    magnitude = stored.dequantise(torch.float32).double().abs()
                    magnitude += b.cpu().double().abs() @ a.cpu().double().abs()
                    # Below the smallest normal number the last place no longer shrinks with the value.
                    magnitude.clamp_(min=torch.finfo(dtype).smallest_normal)
                    error = float(((found - expected).abs() / magnitude).max())
                    yield _check(f"{kind} {shape} rank {rank} {dtype}", error <= ROUNDING[dtype], error=error)


def _quantise(context: Context) -> Iterator[Check]:
    """Weights are quantised on the device to the bytes of the CPU."""
    for shape in context.scale.weights:
        weight = _weight(shape)
        for kind, stored in _stored(shape):
            there: FourBit | Int8
            if isinstance(stored, FourBit):
                there = FourBit.quantise(weight.to(context.device), stored.kind, double=stored.nested is not None)
            else:
                there = Int8.quantise(weight.to(context.device))
            codes = int((there.tensors()[""].cpu() != stored.tensors()[""]).sum())
            # A value in the middle between two codes may go either way, as divisions are rounded.
            yield _check(f"{kind} {shape}", codes <= stored.tensors()[""].numel() * 1e-4, differing=codes)


class _Recorded(TorchDispatchMode):
    """Notes every operation of Inarch's that is run, with its arguments as they were."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func.namespace == "inarch":
            clones = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in args)
            self.calls.append((func, clones))
        return func(*args, **(kwargs or {}))


def _opcheck(context: Context) -> Iterator[Check]:
    """Schema, fake and implementation of every operation that is met agree, by ``torch.library.opcheck``."""
    shape = (130, 300)
    b, a = (torch.randn(size, device=context.device, dtype=torch.bfloat16) for size in ((130, 16), (16, 300)))
    recorded = _Recorded()
    with recorded:
        for _, stored in _stored(shape):
            there = stored.to(context.device)
            there.dequantise(torch.bfloat16)
            there.plus(b, a, torch.bfloat16)
            buffer = torch.empty(shape, dtype=torch.bfloat16, device=context.device)
            there.dequantise(out=buffer)
            there.plus(b, a, out=buffer)
            if isinstance(there, FourBit):
                there.to_fp8()
        FourBit.quantise(_weight(shape).to(context.device))
        Int8.quantise(_weight(shape).to(context.device))
    for number, (func, args) in enumerate(recorded.calls):
        try:
            torch.library.opcheck(func, args)
            yield _check(f"{func} {number}", True)
        except Exception as error:
            yield _check(f"{func} {number}", False, reason=str(error)[:500])


def _products(context: Context) -> Iterator[Check]:
    """Outputs and gradients of quantised linear maps with an adapter, against float64."""
    generator = torch.Generator().manual_seed(0)
    for tokens in (8, 1024):
        for name, kind in (("nf4", FourBitLinear), ("int8", Int8Linear)):
            plain = torch.nn.Linear(256, 512, bias=False, dtype=torch.bfloat16)
            with torch.no_grad():
                plain.weight.copy_(torch.randn(512, 256, generator=generator) * 0.05)
            module = kind.of(plain).to(context.device)
            x = torch.randn(tokens, 256, generator=generator).to(context.device, torch.bfloat16).requires_grad_()
            direction = torch.randn(tokens, 512, generator=generator).to(context.device, torch.bfloat16)
            y = module(x)
            y.backward(direction)
            weight = module.weight.stored.dequantise(torch.float32).cpu().double()
            assert x.grad is not None
            pairs = {
                "output": (y, x.detach().cpu().double() @ weight.T),
                "gradient": (x.grad, direction.cpu().double() @ weight),
            }
            for what, (found, expected) in pairs.items():
                error = float((found.detach().cpu().double() - expected).norm() / expected.norm())
                yield _check(f"{name}, {tokens} tokens, {what}", error <= 1e-2, error=error)


def _engine(context: Context) -> Iterator[Check]:
    """The engine's report on a small model of each format, and what it changes, held against the CPU in float32 too."""
    shape = SHAPES["tiny"]
    for kind in ("bf16", "nf4", "int8"):
        model = build(shape, kind, as_inarch, torch.device("cpu"))
        inarch.attach(model, "lora", rank=4, alpha=4)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad and name.endswith("_B"):
                    parameter.normal_(0, 1e-2, generator=torch.Generator().manual_seed(len(name)))
        precise = copy.deepcopy(model).float().train()
        expected = probe(precise, batch(shape, 2, 64, torch.device("cpu")))
        there = model.to(context.device).train()
        example = batch(shape, 2, 64, context.device)
        running = inarch.engine(there, example, features=[*without_plan(), EveryBlock()])
        found = difference(expected, probe(there, example))
        for outcome in running.outcomes:
            yield _check(f"{kind}: {outcome.feature}", None, used=outcome.used, text=outcome.text)
        running.stop()
        reason = found.reason(torch.bfloat16)
        yield _check(f"{kind}: the engine beside float32 on the CPU", not reason, reason=reason, cosine=found.cosine)


GROUPS: dict[str, Callable[[Context], Iterator[Check]]] = {
    "dequantise": _dequantise,
    "bitsandbytes": _bitsandbytes,
    "low rank": _low_rank,
    "quantise": _quantise,
    "opcheck": _opcheck,
    "products": _products,
    "engine": _engine,
}
"""By name; what a group holds is what its function says."""
