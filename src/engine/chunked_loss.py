"""Chunked loss: a language model's loss without its logits."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters.head_parts import transformers_view
from ..adapters.slot import SLOT
from ..errors import InarchError
from .chunked_cross_entropy import cross_entropy, rows_per_chunk
from .feature import Declined, Feature
from .lazy_logits import LazyHead, LazyLogits
from .probe import measure

MEBIBYTE = 2**20


class ChunkedLoss(Feature):
    """The cross entropy on labelled rows in chunks; the logits of a training step with labels never exist in full.

    While the model is called in training mode with labels, its output head gives lazy logits instead of computing
    them. Whatever the model does to them is written down, until it asks for their cross entropy with the labels, in its
    own code or in that of ``transformers``: only then the head is run, with the adapters on it, on a chunk of labelled
    rows at a time (``chunked_cross_entropy``). The model's output holds the lazy logits. Without labels, in evaluation
    and in compiled code the head computes as ever.

    Args:
        megabytes: How large the logits of a chunk may be, in float32.
    """

    name = "chunked loss"

    def __init__(self, megabytes: float = 256) -> None:
        self.chunk_bytes = int(megabytes * MEBIBYTE)
        self._hooks: list[Any] = []

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        """Make the head lazy, and try it in a training step."""
        head = transformers_view(model)[1]
        if not isinstance(head, nn.Module):
            raise Declined("the model has no output embedding")
        if _CALL in vars(head):
            raise Declined("the output head is lazy already")
        call = _Call(_place_of_labels(model), self.chunk_bytes)
        vars(head)[_CALL] = partial(_call_head, call, head)
        self._hooks = [
            model.register_forward_pre_hook(partial(_begin, call), with_kwargs=True, prepend=True),
            model.register_forward_hook(partial(_end, call), always_call=True),
        ]
        try:
            measure(model, batch)
        except (InarchError, RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            self.stop(model)
            raise Declined(f"{type(error).__name__}: {error}") from error
        if not call.losses:
            self.stop(model)
            raise Declined("the loss is no cross entropy of what the output head gives")
        (vocabulary, _), *_ = call.samples.values()
        rows = rows_per_chunk(vocabulary, self.chunk_bytes)
        return f"the logits, {vocabulary} a row, are computed for {rows} labelled rows at a time"

    def stop(self, model: nn.Module) -> None:
        """Give the head its call back."""
        head = transformers_view(model)[1]
        if isinstance(head, nn.Module):
            vars(head).pop(_CALL, None)
        while self._hooks:
            self._hooks.pop().remove()


_CALL = "_call_impl"
"""What ``Module.__call__`` runs: ``forward`` with the hooks around it. The hooks must be put off too, since those of
adapters compute as many values as there are logits."""


@dataclass
class _Call:
    """What is known of the call of the model that is going on.

    Attributes:
        labels: The place of the labels among the arguments; none where they are given by keyword only.
        chunk_bytes: How large the logits of a chunk may be.
        is_lazy: Whether the head gives lazy logits in this call.
        losses: How many losses have been computed from lazy logits.
        samples: Size and dtype of the logits, by dtype and device of the hidden states and dtype of autocast.
    """

    labels: int | None
    chunk_bytes: int
    is_lazy: bool = False
    losses: int = 0
    samples: dict[Any, tuple[int, torch.dtype]] = field(default_factory=dict)

    def cross_entropy(self, logits: LazyLogits, target: Tensor, **settings: Any) -> Tensor:
        """The loss."""
        self.losses += 1
        return cross_entropy(logits, target, chunk_bytes=self.chunk_bytes, **settings)


def _place_of_labels(model: nn.Module) -> int | None:
    names = list(inspect.signature(model.forward).parameters)
    return names.index("labels") if "labels" in names else None


def _begin(call: _Call, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if torch.compiler.is_compiling():
        return
    labels = kwargs.get("labels")
    if labels is None and call.labels is not None and call.labels < len(args):
        labels = args[call.labels]
    call.is_lazy = labels is not None and model.training and torch.is_grad_enabled()


def _end(call: _Call, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    if not torch.compiler.is_compiling():
        call.is_lazy = False


def _call_head(call: _Call, head: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The head's call: lazy logits while the model computes a loss in training."""
    compute = partial(type(head)._call_impl, head)
    is_plain = len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and args[0].dim() > 1
    if torch.compiler.is_compiling() or not (call.is_lazy and is_plain) or _is_routed(head):
        return compute(*args, **kwargs)
    hidden: Tensor = args[0]
    size, dtype = _sample(call, compute, hidden)
    sample = torch.empty(0, size, dtype=dtype, device=hidden.device)
    return LazyLogits(hidden, LazyHead(compute, hidden.dim(), call.cross_entropy), sample)


def _is_routed(head: nn.Module) -> bool:
    """Whether different rows of the batch go to different adapters: then the head must see them together."""
    return getattr(head._modules.get(SLOT), "rows", None) is not None


def _sample(call: _Call, compute: Any, hidden: Tensor) -> tuple[int, torch.dtype]:
    """How many logits there are for each row, and their dtype, from one row."""
    kind = hidden.device.type
    key = (hidden.dtype, hidden.device, torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind))
    if key not in call.samples:
        with torch.no_grad(), torch.random.fork_rng(device_type="cuda" if kind == "cpu" else kind):
            row = hidden.detach().reshape(-1, hidden.shape[-1])[:1]
            logits = compute(row.reshape((1,) * (hidden.dim() - 1) + row.shape[-1:]))
        call.samples[key] = logits.shape[-1], logits.dtype
    return call.samples[key]
