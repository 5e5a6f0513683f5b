"""What memory a model needs while it is loaded, by ``python -m inarch_benchmarks.loading``.

A checkpoint in float32 is loaded in bfloat16, or in fewer bits. Each way runs in a process of its own, in which the
memory that is the process's own (RssAnon; what is mapped from files can be dropped at any time) is read every
millisecond. The C library is told to give memory back as soon as it is freed, so that what is seen is what is needed.
The figures go to ``benchmarks/results/loading.json`` with the machine, the versions and the date.
"""

import gc
import os
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

import inarch

from .side_by_side import command

RESULTS = Path(__file__).parent / "results" / "loading.json"
MEGABYTE = 1e6


@dataclass(frozen=True)
class Shape:
    """A model as Llama is built.

    Attributes:
        width: Of the hidden states.
        inner: Of the feed-forward block.
        layers: How many.
        vocabulary: Tokens.
    """

    width: int = 1024
    inner: int = 2816
    layers: int = 6
    vocabulary: int = 2000


SMALL = Shape(64, 64, 1, 40)


def save(shape: Shape, folder: Path) -> None:
    """A checkpoint in float32 with random weights, in files of some layers each."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=8,
        vocab_size=shape.vocabulary,
    )
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="100MB")


def in_floats(folder: str) -> nn.Module:
    """As transformers loads it."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)  # type: ignore[no-any-return]


def quantised_after(kind: str, folder: str) -> nn.Module:
    """Loaded in floating point, then quantised."""
    model = in_floats(folder)
    inarch.quantize(model, kind)
    return model


def streamed(kind: str, folder: str) -> nn.Module:
    """Quantised as it is read."""
    from transformers import LlamaForCausalLM

    return inarch.from_pretrained(LlamaForCausalLM, folder, kind, dtype=torch.bfloat16)  # type: ignore[no-any-return]


def by_bitsandbytes(folder: str) -> nn.Module:
    """As transformers quantises it through bitsandbytes."""
    from transformers import BitsAndBytesConfig, LlamaForCausalLM

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    return LlamaForCausalLM.from_pretrained(  # type: ignore[no-any-return]
        folder, quantization_config=config, dtype=torch.bfloat16
    )


WAYS: dict[str, Callable[[str], nn.Module]] = {
    "bfloat16": in_floats,
    "nf4, after loading": partial(quantised_after, "nf4"),
    "nf4": partial(streamed, "nf4"),
    "int8": partial(streamed, "int8"),
    "nf4, bitsandbytes": by_bitsandbytes,
}


def own_memory() -> int:
    """Bytes that this process holds beside what is mapped from files."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


@contextmanager
def watched(peak: list[int]) -> Iterator[None]:
    """Inside, the most memory that is seen is kept as the one item of ``peak``."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.001):
            peak[0] = max(peak[0], own_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(way: str, small: str, folder: str) -> dict[str, float]:
    """Megabytes at the peak, and of the model, of loading ``folder`` one way in this process."""
    torch.set_num_threads(1)
    WAYS[way](small)  # whatever is imported at a first load
    gc.collect()
    before = own_memory()
    peak = [before]
    with watched(peak):
        model = WAYS[way](folder)
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    return {"peak": (peak[0] - before) / MEGABYTE, "model": size / MEGABYTE}


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}


def measured(repeats: int, shape: Shape = Shape()) -> dict[str, Any]:
    """Every way of loading, each so many times in processes of its own."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # for the processes that are started here
    with tempfile.TemporaryDirectory() as place, get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        small, folder = f"{place}/small", f"{place}/model"
        save(SMALL, Path(small))
        save(shape, Path(folder))
        largest = 2 * max(shape.width * shape.inner, shape.width * shape.vocabulary) / MEGABYTE
        rounds = [
            {way: pool.apply(measure, (way, small, folder)) for way in WAYS}
            for _ in track(range(repeats), description="loading", console=Console(stderr=True))
        ]
    found = {way: summary([each[way] for each in rounds]) for way in WAYS}
    return {"largest_tensor": largest, "results": found}


def show(document: Mapping[str, Any]) -> Table:
    """The figures, with the memory needed beside the model itself."""
    table = Table(box=None, header_style="bold")
    for column in ("loaded as", "model MB", "peak MB", "beside it MB"):
        table.add_column(column, justify="left" if column == "loaded as" else "right")
    for way, row in document["results"].items():
        beside = row["peak"] - row["model"]
        table.add_row(way, f"{row['model']:.0f}", f"{row['peak']:.0f}", f"{beside:.0f}")
    table.caption = f"the largest tensor: {document['largest_tensor']:.0f} MB"
    return table


def main() -> None:
    """Measure, write the results and print them."""
    command(__doc__, RESULTS, 3, measured, show)


if __name__ == "__main__":
    main()
