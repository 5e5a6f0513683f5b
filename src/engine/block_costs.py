"""What a training step costs, block by block: bytes and seconds, measured on a batch.

The model is called once for the bytes and once for the seconds. Each of its blocks runs forward and backward by itself,
once for everything it may keep of its forward pass, and is given up before the next one runs. So measuring takes no
more memory than the leanest plan does.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError, shortened
from .activations import keep_attention, keep_input
from .alone import backward, cut, cut_call, end_of, gradients_given_up, new_root, tensors
from .checkpoint_hook import checkpoint_by, restore
from .peak_bytes import PeakBytes, storage_bytes

NONE, SELECTIVE, FULL, OFFLOAD = "none", "selective", "full", "offload"


def _plain(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


_WAYS: dict[str, Callable[..., Any]] = {NONE: _plain, SELECTIVE: keep_attention, FULL: keep_input}

_HIDDEN_COPY = 0.1
"""The share of the time of a copy that counts where the block computes meanwhile: it takes bandwidth from that."""


@dataclass(frozen=True)
class Cost:
    """What one call of a block costs at one level of checkpointing.

    Attributes:
        kept: Bytes from its forward to its backward pass, its input among them where that is kept.
        peak: Bytes at most during both, with ``kept`` and the gradients that come and go.
        seconds: What its backward pass takes longer than if everything were kept.
    """

    kept: int
    peak: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call of a block.

    Attributes:
        block: The block's name.
        kind: Equal for blocks that are built alike.
        before: The most bytes outside of blocks since the call before.
        around: Bytes outside of blocks while it runs, such as masks.
        costs: By level.
        seconds: Of its forward pass.
    """

    block: str
    kind: Any
    before: int
    around: int
    costs: Mapping[str, Cost]
    seconds: float = 0.0


@dataclass(frozen=True)
class StepCosts:
    """What a training step costs.

    Attributes:
        calls: Of the blocks, in their order.
        tail: The most bytes after the last block: of the head, the logits, the loss and their backward pass.
    """

    calls: tuple[Call, ...]
    tail: int

    def times(self, factor: int) -> "StepCosts":
        """Those of ``factor`` times as many rows, as if every cost grew with them."""
        return StepCosts(tuple(_times(call, factor) for call in self.calls), self.tail * factor)


def _times(call: Call, factor: int) -> Call:
    costs = {
        level: Cost(cost.kept * factor, cost.peak * factor, cost.seconds * factor) for level, cost in call.costs.items()
    }
    return replace(
        call,
        before=call.before * factor,
        around=call.around * factor,
        costs=costs,
        seconds=call.seconds * factor,
    )


def measure_costs(model: nn.Module, blocks: Mapping[str, nn.Module], batch: Mapping[str, Any]) -> StepCosts:
    """Measure a training step.

    Args:
        model: The model, in training mode, on one device.
        blocks: The blocks that transformers can checkpoint, by name.
        batch: What the model is called with.

    Raises:
        DataError: The model gives no loss on the batch.
    """
    device = next(model.parameters()).device
    of_bytes, of_seconds = _Bytes(device), _Seconds(device)
    with of_bytes.memory:
        _walk(model, blocks, batch, of_bytes)
    _walk(model, blocks, batch, of_seconds)
    calls = [
        _timed(
            call, [other for each, other in zip(of_bytes.calls, of_seconds.calls, strict=True) if _alike(each, call)]
        )
        for call in of_bytes.calls
    ]
    return StepCosts(tuple(calls), of_bytes.tail)


def _alike(one: Call, other: Call) -> bool:
    return bool(one.kind == other.kind)


def _timed(call: Call, seconds: Sequence[Mapping[str, float]]) -> Call:
    """The call with the seconds of the calls of all blocks built alike: the same for each of them."""
    time_of = {level: median(each[level] for each in seconds) for level in seconds[0]}
    costs = {
        level: replace(cost, seconds=0.0 if level == NONE else time_of[level]) for level, cost in call.costs.items()
    }
    return replace(call, costs=costs, seconds=time_of[NONE])


class _Measurer:
    """Meets every call of a block during one forward pass of the model, and goes on with what the block gives.

    Attributes:
        root: What the graph after each block begins with.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.root = new_root(device)
        self._outside: list[Any] = []

    def __call__(self, name: str, block: nn.Module, function: Callable[..., Any], *args: Any) -> Any:
        inputs = tensors((args, getattr(function, "keywords", {})))
        self._outside += [tensor.grad_fn for tensor in inputs]  # that part of the graph stays until the backward pass
        with gradients_given_up(block.parameters()) as trained:
            self.measure(name, block, function, args, trained)
        output = cut(self.root, function(*args))
        self.after()
        return output

    def measure(
        self, name: str, block: nn.Module, function: Callable[..., Any], args: tuple[Any, ...], trained: list[Tensor]
    ) -> None:
        raise NotImplementedError

    def after(self) -> None:
        """After a call of a block."""

    def finish(self) -> None:
        """After the backward pass of what follows the last block."""


class _Bytes(_Measurer):
    """Measures bytes."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.memory = PeakBytes(device)
        self.calls: list[Call] = []
        self.tail = 0

    def measure(
        self, name: str, block: nn.Module, function: Callable[..., Any], args: tuple[Any, ...], trained: list[Tensor]
    ) -> None:
        before, taken = self.memory.peak, storage_bytes(tensors(args[:1]))
        if not self.calls:  # kernels are loaded, and memory that a process keeps is taken, by the first pass
            self._cost(keep_input, function, args, trained)
        around = self.memory.live - taken
        costs = {level: self._cost(way, function, args, trained) for level, way in _WAYS.items()}
        if costs[SELECTIVE].kept <= costs[FULL].kept:
            del costs[SELECTIVE]  # it computes its attention in several steps, or draws random numbers there
        if self.device.type == "cuda" and costs[FULL].kept >= taken > 0:
            costs[OFFLOAD] = Cost(costs[FULL].kept - taken, costs[FULL].peak + taken)
        self.calls.append(Call(name, _kind(block), before, around, costs))

    def _cost(
        self, way: Callable[..., Any], function: Callable[..., Any], args: tuple[Any, ...], trained: list[Tensor]
    ) -> Cost:
        start = self.memory.live
        self.memory.restart()
        root = new_root(self.device)
        end = end_of(way(*cut_call(root, function, args)))
        kept = self.memory.live - start
        backward(end, [root, *trained])
        return Cost(kept, self.memory.peak - start)

    def after(self) -> None:
        self.memory.restart()

    def finish(self) -> None:
        self.tail = self.memory.peak


class _Seconds(_Measurer):
    """Measures seconds: of the forward pass, and of what each level computes again."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.calls: list[dict[str, float]] = []

    def measure(
        self, name: str, block: nn.Module, function: Callable[..., Any], args: tuple[Any, ...], trained: list[Tensor]
    ) -> None:
        found: dict[str, float] = {}
        for level, way in _WAYS.items():
            seconds: list[float] = []
            root = new_root(self.device)
            piece, *copies = cut_call(root, function, args)
            end = end_of(way(partial(self._clocked, seconds, piece), *copies))
            backward(end, [root, *trained])
            found[level] = seconds[0] if level == NONE else sum(seconds[1:])
        found[OFFLOAD] = found[FULL]
        if self.device.type == "cuda" and args and isinstance(args[0], Tensor):
            copy = self._copy(args[0])
            found[OFFLOAD] += 2 * (max(0.0, copy - found[NONE]) + _HIDDEN_COPY * copy)
        self.calls.append(found)

    def _clocked(self, seconds: list[float], function: Callable[..., Any], *args: Any) -> Any:
        start = self._now()
        try:
            return function(*args)
        finally:
            seconds.append(self._now() - start)

    def _copy(self, tensor: Tensor) -> float:
        """How long a copy to the host takes."""
        host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        start = self._now()
        host.copy_(tensor.detach(), non_blocking=True)
        return self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _walk(model: nn.Module, blocks: Mapping[str, nn.Module], batch: Mapping[str, Any], measurer: _Measurer) -> None:
    """One forward pass of the model in which ``measurer`` meets the blocks, and the backward pass of what follows."""
    within = {id(parameter) for block in blocks.values() for parameter in block.parameters()}
    with _met(blocks, measurer), torch.enable_grad():
        loss = getattr(model(**batch), "loss", None)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise DataError(
                f"{type(model).__name__} gives no loss on the batch ({shortened(batch)}). Give a batch with labels."
            )
        outside = (parameter for parameter in model.parameters() if id(parameter) not in within)
        with gradients_given_up(outside) as trained:
            backward(loss, [measurer.root, *trained])
    measurer.finish()


@contextmanager
def _met(blocks: Mapping[str, nn.Module], measurer: _Measurer) -> Iterator[None]:
    with ExitStack() as stack:
        for name, block in blocks.items():
            before = checkpoint_by(block, partial(measurer, name, block))
            stack.callback(restore, block, before)
        yield


def _kind(block: nn.Module) -> Any:
    return type(block), tuple((each.shape, each.dtype, each.requires_grad) for each in block.parameters())
