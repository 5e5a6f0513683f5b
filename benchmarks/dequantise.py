"""What dequantising costs, beside bitsandbytes in one process: ``python -m inarch_benchmarks.dequantise``.

Each weight is dequantised in turn by Inarch into a tensor that is there already, by Inarch into a new one, and by
bitsandbytes, which always makes a new one; the ratio of the medians is the result. The figures go to
``benchmarks/results/dequantise.json`` with the machine, the versions and the date.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from bitsandbytes import functional as bitsandbytes
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from inarch.kernels import FourBit, Int8

from .side_by_side import again, alternate, machine, quartiles

RESULTS = Path(__file__).parent / "results" / "dequantise.json"
SHAPES = ((4096, 4096), (14336, 4096))
DTYPES = (torch.bfloat16, torch.float32)
RANK = 16
OURS, NEW, THEIRS = "inarch, into a tensor", "inarch", "bitsandbytes"

Contenders = dict[str, Callable[[], Tensor]]


def four_bit(stored: FourBit, dtype: torch.dtype) -> Contenders:
    """NF4 with doubly quantised scales."""
    state = _state(stored, dtype)
    out = stored.dequantise(dtype)
    return {
        OURS: lambda: stored.dequantise(out=out),
        NEW: lambda: stored.dequantise(dtype),
        THEIRS: lambda: bitsandbytes.dequantize_4bit(stored.packed, state),
    }


def four_bit_plus(stored: FourBit, dtype: torch.dtype) -> Contenders:
    """The same with a low-rank change; bitsandbytes' weight is rounded before the change is added."""
    state = _state(stored, dtype)
    out = stored.dequantise(dtype)
    B, A = torch.randn_like(out[:, :RANK]), torch.randn_like(out[:RANK])
    return {
        OURS: lambda: stored.plus(B, A, out=out),
        NEW: lambda: stored.plus(B, A, dtype),
        THEIRS: lambda: bitsandbytes.dequantize_4bit(stored.packed, state).addmm_(B, A),
    }


def int8(stored: Int8, dtype: torch.dtype) -> Contenders:
    """Eight bits with a scale for each row."""
    out = stored.dequantise(dtype)
    return {
        OURS: lambda: stored.dequantise(out=out),
        NEW: lambda: stored.dequantise(dtype),
        THEIRS: lambda: bitsandbytes.int8_vectorwise_dequant(stored.weight, stored.scales).to(dtype),
    }


WORKS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any, torch.dtype], Contenders]]] = {
    "NF4, double": (FourBit.quantise, four_bit),
    f"NF4, double, rank {RANK} added": (FourBit.quantise, four_bit_plus),
    "int8": (Int8.quantise, int8),
}
"""How a weight is quantised, and what is done with it."""


def measure(contenders: Contenders, device: torch.device, repeats: int) -> dict[str, Any]:
    """Medians and quartiles in milliseconds, and the ratios to bitsandbytes."""

    def finished(work: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    with torch.no_grad():
        times = alternate({who: again(finished(work)) for who, work in contenders.items()}, repeats)
    medians = {who: statistics.median(values) for who, values in times.items()}
    return {
        "ratios": {who: medians[who] / medians[THEIRS] for who in (OURS, NEW)},
        "milliseconds": {who: 1e3 * median for who, median in medians.items()},
        "quartiles": {who: quartiles(values)[::2] for who, values in times.items()},
    }


def measured(device: torch.device, threads: list[int], repeats: int) -> list[dict[str, Any]]:
    """A row for each weight, operation, dtype and number of threads."""
    cases = [(shape, name) for shape in SHAPES for name in WORKS]
    rows = []
    for shape, name in track(cases, description="measuring", console=Console(stderr=True)):
        quantise, work = WORKS[name]
        stored = quantise(torch.randn(shape, device=device) * 0.02)
        for dtype in DTYPES:
            contenders = work(stored, dtype)
            for count in threads:
                torch.set_num_threads(count)
                row = {"operation": name, "shape": list(shape), "dtype": str(dtype).removeprefix("torch.")}
                rows.append(row | {"threads": count} | measure(contenders, device, repeats))
    return rows


def show(document: Mapping[str, Any]) -> Table:
    """The ratios."""
    table = Table(box=None, header_style="bold")
    for column in (
        "operation",
        "shape",
        "dtype",
        "threads",
        f"{OURS} ms",
        f"{THEIRS} ms",
        "ratio",
        "ratio, new tensor",
    ):
        table.add_column(column, justify="left" if column in {"operation", "shape", "dtype"} else "right")
    for row in document["results"]:
        spent, ratios = row["milliseconds"], row["ratios"]
        shape = " x ".join(str(size) for size in row["shape"])
        times = (f"{spent[who]:.2f}" for who in (OURS, THEIRS))
        fractions = (f"{ratios[who]:.3f}" for who in (OURS, NEW))
        table.add_row(row["operation"], shape, row["dtype"], str(row["threads"]), *times, *fractions)
    return table


def main() -> None:
    """Measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="where the weights are")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of torch; one gives the steadiest figures")
    parser.add_argument("--repeats", type=int, default=15, help="rounds of each operation")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results are written")
    options = parser.parse_args()
    torch.manual_seed(0)
    found = machine()
    del found["threads"]  # each row has its own
    found |= {"bitsandbytes": version("bitsandbytes"), "device": str(options.device)}
    if options.device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(options.device)
    rows = measured(options.device, options.threads, options.repeats)
    document = {"machine": found, "repeats": options.repeats, "results": rows}
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    Console().print(show(document))


def _state(stored: FourBit, dtype: torch.dtype) -> Any:
    """What bitsandbytes reads a weight's scales from."""
    entries = {f"weight.{name}": tensor for name, tensor in stored.tensors().items() if name}
    state = bitsandbytes.QuantState.from_dict(entries, stored.packed.device)
    state.dtype = dtype
    return state


if __name__ == "__main__":
    main()
