"""Tokens a second and memory of training steps, and the machine's own ceilings."""

import gc
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..side_by_side import quartiles
from .contenders import Contender


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peaks(device: torch.device) -> None:
    """Free what is free, and begin to count anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: torch.device) -> dict[str, int | None]:
    """The most memory that torch took since ``forget_peaks``, in bytes."""
    if device.type != "cuda":
        return {"allocated": None, "reserved": None}
    return {
        "allocated": int(torch.cuda.max_memory_allocated(device)),
        "reserved": int(torch.cuda.max_memory_reserved(device)),
    }


def run_steps(contender: Contender, batch: Mapping[str, Tensor], warm_up: int, steps: int) -> dict[str, Any]:
    """Seconds of each of ``steps`` steps after ``warm_up`` that do not count, and the peaks of memory over all."""
    device = contender.task.device
    forget_peaks(device)
    seconds, losses = [], []
    for turn in range(warm_up + steps):
        synchronise(device)
        start = time.perf_counter()
        loss = contender.step(batch)
        synchronise(device)
        if turn >= warm_up:
            seconds.append(time.perf_counter() - start)
        losses.append(float(loss))
    tokens = batch["input_ids"].numel()
    median = statistics.median(seconds)
    return {
        "tokens": tokens,
        "tokens_per_second": tokens / median,
        "milliseconds": {
            "median": 1e3 * median,
            "quartiles": quartiles(seconds)[::2],
            "all": [1e3 * each for each in seconds],
        },
        "peak": peaks(device),
        "losses": losses,
    }  # fmt: skip


def milliseconds(work: Any, device: torch.device, repeats: int = 20, warm_up: int = 3) -> float:
    """The median time of a call on a device that is otherwise idle."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            times.append(float(start.elapsed_time(end)))
        else:
            begin = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def ceilings(device: torch.device, size: int) -> dict[str, float]:
    """What the machine itself reaches: a large product in bfloat16 on random data, and a large copy."""
    a, b = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    product = milliseconds(lambda: a @ b, device)
    source = torch.empty(size * size * 32, dtype=torch.int8, device=device).random_(0, 127)
    target = torch.empty_like(source)
    copy = milliseconds(lambda: target.copy_(source), device)
    return {
        "matrix_flops": 2 * size**3 / (1e-3 * product),
        "copied_bytes_per_second": 2 * source.numel() / (1e-3 * copy),
    }
