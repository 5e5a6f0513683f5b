"""Where the time of one training step goes: its kernels in groups, by rules that are data.

A kernel belongs to the first group that claims it, by its name, by the operation that launched it, or by the sizes of
that operation's arguments: the products of an adapter are those with its rank among the sizes, the loss is what has the
vocabulary's size and is no product.
"""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

GROUPS = ("GEMM", "attention", "dequantise", "adapter", "elementwise", "loss", "optimizer", "gaps")

PRODUCTS = r"aten::(mm|addmm|bmm|baddbmm|matmul|linear|_scaled_mm)"

Sizes = frozenset[int]


@dataclass(frozen=True)
class Rule:
    """One way of knowing a group.

    Attributes:
        group: The group.
        name: What is found in the name of the kernel or of the operation; nothing asks for none.
        size: Which size is among those of the operation's arguments: ``rank`` or ``vocabulary``; nothing asks for none.
        product: Whether the operation is a matrix product; ``None`` asks for neither.
    """

    group: str
    name: str = ""
    size: str = ""
    product: bool | None = None


RULES = (
    Rule("optimizer", r"multi_tensor|FusedAdam|_fused_adam|_foreach_|clip_grad|lpnorm|linalg_vector_norm"),
    Rule("dequantise", r"(?i)dequant|kDequantize|requantise|gemm_4bit|bitsandbytes::"),
    Rule("attention", r"(?i)flash|fmha|attention|softmax_warp|sdpa|_attn_"),
    Rule("loss", r"(?i)cross_entropy|nll_loss|log_softmax|cce_|_lse_|element_mul_kernel"),
    Rule("adapter", size="rank", product=True),
    Rule("adapter", r"(?i)lora_"),
    Rule("loss", size="vocabulary", product=False),
    Rule("GEMM", product=True),
    Rule("GEMM", r"(?i)gemm|cutlass|cublas|nvjet|wgmma|matmul|^mm_"),
    Rule("elementwise", r".*"),
)


def group_of(kernel: str, operation: str, sizes: Sizes, named: dict[str, int]) -> str:
    """The group of a kernel.

    Args:
        kernel: Its name.
        operation: The operation that launched it.
        sizes: Those of the operation's arguments.
        named: What ``rank`` and ``vocabulary`` are.
    """
    product = re.match(PRODUCTS, operation) is not None
    for rule in RULES:
        if rule.name and not (re.search(rule.name, kernel) or re.search(rule.name, operation)):
            continue
        if rule.size and named[rule.size] not in sizes:
            continue
        if rule.product is not None and rule.product != product:
            continue
        return rule.group
    raise AssertionError("the last rule claims everything")


def breakdown(step: Callable[[], Any], named: dict[str, int], device: torch.device) -> dict[str, Any]:
    """Milliseconds of each group in one step, and the kernels that took most.

    Args:
        step: One training step, warmed up; it ends with the device idle.
        named: What ``rank`` and ``vocabulary`` are.
        device: Where it runs.
    """
    from torch.profiler import ProfilerActivity, profile, record_function

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        with profile(activities=kinds, record_shapes=True) as profiler, record_function(_STEP):
            step()
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return summary(events, named)


_STEP = "inarch step"


def summary(events: Iterable[dict[str, Any]], named: dict[str, int]) -> dict[str, Any]:
    """As ``breakdown``, from the events of a trace; without kernels the operations' own times stand for them."""
    whole = [event for event in events if event.get("ph") == "X"]
    operations = {event["args"]["External id"]: event for event in whole if _is_operation(event)}
    kernels = [event for event in whole if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    spent: dict[str, float] = dict.fromkeys(GROUPS, 0.0)
    by_name: dict[tuple[str, str], float] = defaultdict(float)
    for kernel, own in [(each, each["dur"]) for each in kernels] or _own_times(operations.values()):
        operation = operations.get(kernel["args"].get("External id"), {"name": "", "args": {}})
        group = group_of(kernel["name"], operation["name"], _sizes(operation), named)
        spent[group] += own / 1e3
        by_name[group, kernel["name"][:120]] += own / 1e3
    (step,) = [each for each in whole if each["name"] == _STEP and each.get("cat") == "user_annotation"]
    spent["gaps"] = max(0.0, step["dur"] - _covered(kernels or operations.values())) / 1e3
    longest = sorted(by_name.items(), key=lambda pair: -pair[1])[:25]
    return {
        "milliseconds": spent,
        "step": step["dur"] / 1e3,
        "kernels": len(kernels),
        "of": "kernels" if kernels else "operations",
        "longest": [{"group": group, "name": name, "milliseconds": time} for (group, name), time in longest],
    }


def _is_operation(event: dict[str, Any]) -> bool:
    return event.get("cat") == "cpu_op" and "External id" in event.get("args", {})


def _sizes(operation: dict[str, Any]) -> Sizes:
    """All sizes in ``Input Dims``, lists of tensors among the arguments included."""
    found: set[int] = set()
    todo = [operation["args"].get("Input Dims", [])]
    while todo:
        each = todo.pop()
        if isinstance(each, list):
            todo.extend(each)
        else:
            found.add(int(each))
    return frozenset(found)


def _own_times(operations: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Each operation with its time without the operations within it."""
    own: list[list[Any]] = []
    around: list[list[Any]] = []
    for event in sorted(operations, key=lambda each: (each["tid"], each["ts"], -each["dur"])):
        while around and not _within(event, around[-1][0]):
            own.append(around.pop())
        if around:
            around[-1][1] -= event["dur"]
        around.append([event, event["dur"]])
    return [(event, time) for event, time in own + around]


def _within(event: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether ``event``, which began no earlier, runs within ``other``."""
    return bool(event["tid"] == other["tid"] and event["ts"] < other["ts"] + other["dur"])


def _covered(events: Iterable[dict[str, Any]]) -> float:
    """Time during which at least one of the events runs."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted((event["ts"], event["ts"] + event["dur"]) for event in events):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
