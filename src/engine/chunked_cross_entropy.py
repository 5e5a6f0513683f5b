"""The cross entropy of lazy logits, in chunks of labelled rows, with its gradients at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import get_gradient_edge

from .lazy_logits import LazyLogits

LOGIT_BYTES = 4
"""The cross entropy is computed in float32."""


def rows_per_chunk(vocabulary: int, chunk_bytes: int) -> int:
    """How many rows of logits in float32 fit into ``chunk_bytes``; at least one."""
    return max(1, chunk_bytes // (LOGIT_BYTES * vocabulary))


def cross_entropy(
    logits: LazyLogits, target: Tensor, *, ignore_index: int, reduction: str, label_smoothing: float, chunk_bytes: int
) -> Tensor:
    """``torch.nn.functional.cross_entropy`` of lazy logits of shape (rows, vocabulary) and classes of shape (rows,).

    Rows whose class is ``ignore_index`` are left out. Of the others a chunk at a time goes through the head, and as
    soon as its loss is known, its gradients are taken and its logits forgotten; backward only scales the gradients. So
    nothing is computed twice, and no more logits than one chunk's exist at a time.

    The gradients are kept those of the sum: those of a mean over many rows would vanish in float16, before a gradient
    scaler could scale them up.

    Args:
        logits: The logits.
        target: The class of each row.
        ignore_index: The class of rows without a label.
        reduction: ``mean`` or ``sum``.
        label_smoothing: As in torch.
        chunk_bytes: How large the logits of a chunk may be.

    Returns:
        The loss, of the dtype that torch would give.
    """
    target = target.to(logits.device)
    labelled = (target != ignore_index).nonzero().squeeze(1)
    chunks = labelled.split(rows_per_chunk(logits.shape[-1], chunk_bytes)) if labelled.numel() else ()
    total = _Sum(logits, target, label_smoothing)
    for rows in chunks:
        total.add(rows)
    loss = total.loss()
    loss = loss / labelled.numel() if reduction == "mean" else loss
    return loss.to(_dtype_of_loss(logits))


def _dtype_of_loss(logits: LazyLogits) -> torch.dtype:
    single = torch.is_autocast_enabled(logits.device.type) and logits.dtype != torch.float64
    return torch.float32 if single else logits.dtype


class _Sum:
    """The sum of the losses of rows, and its gradients."""

    def __init__(self, logits: LazyLogits, target: Tensor, label_smoothing: float) -> None:
        self.logits, self.target, self.label_smoothing = logits, target, label_smoothing
        self.hidden = logits.hidden
        self.dtype = torch.promote_types(logits.dtype, torch.float32)
        self.value = torch.zeros((), dtype=self.dtype, device=logits.device)
        self.of_hidden = torch.zeros_like(self.hidden) if self.hidden.requires_grad else None
        self.of_leaves: dict[Tensor, Tensor] = {}

    def add(self, rows: Tensor) -> None:
        """Add the losses of some rows."""
        chunk = self.hidden.detach().index_select(0, rows.to(self.hidden.device))
        chunk.requires_grad_(self.of_hidden is not None)
        with torch.enable_grad():
            logits = self.logits.rows(chunk)
        value, of_logits = loss_and_gradient(logits.detach(), self.target[rows], self.label_smoothing, self.dtype)
        self.value += value
        if not logits.requires_grad:
            return
        edge, of_logits = get_gradient_edge(logits), of_logits.to(logits.dtype)
        del logits
        leaves = [leaf for leaf in _leaves(edge.node) if leaf is not chunk]
        wanted = [*([chunk] if self.of_hidden is not None else []), *leaves]
        with torch.autocast(of_logits.device.type, enabled=False):  # as in a backward pass
            gradients = list(torch.autograd.grad(edge, wanted, of_logits))
        if self.of_hidden is not None:
            self.of_hidden.index_copy_(0, rows.to(self.hidden.device), gradients.pop(0))
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if leaf not in self.of_leaves:
                self.of_leaves[leaf] = torch.zeros_like(leaf, dtype=torch.promote_types(leaf.dtype, torch.float32))
            self.of_leaves[leaf] += gradient

    def loss(self) -> Tensor:
        """The sum, as autograd knows it."""
        of_leaves = {leaf: gradient.to(leaf.dtype) for leaf, gradient in self.of_leaves.items()}
        of_hidden = {} if self.of_hidden is None else {self.hidden: self.of_hidden}
        gradients = {**of_hidden, **of_leaves}
        if not gradients:
            return self.value
        loss: Tensor = _Known.apply(self.value, list(gradients.values()), *gradients)
        return loss


@torch.no_grad()
def loss_and_gradient(
    logits: Tensor, target: Tensor, label_smoothing: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The sum of the cross entropies of rows, and its gradient, which takes the only memory of the logits' size.

    With q the target distribution, ``(1 - s) onehot + s / vocabulary``, a row's loss is ``log sum exp x - q x`` and
    its gradient ``softmax x - q``.

    Args:
        logits: x, of shape (rows, vocabulary).
        target: The class of each row.
        label_smoothing: s.
        dtype: Of the gradient and the loss.
    """
    target = target.unsqueeze(1)
    gradient = torch.sub(logits, logits.amax(1, keepdim=True).to(dtype))  # in ``dtype``, by promotion
    expected = (1 - label_smoothing) * gradient.gather(1, target)
    if label_smoothing:
        expected += label_smoothing * gradient.mean(1, keepdim=True)
    total = gradient.exp_().sum(1, keepdim=True)
    gradient.div_(total)
    gradient.scatter_add_(1, target, torch.full_like(expected, label_smoothing - 1))
    if label_smoothing:
        gradient -= label_smoothing / logits.shape[1]
    return (total.log() - expected).sum(), gradient


def _leaves(start: Any) -> list[Tensor]:
    """The tensors that the logits have gradients to: those of the head, of its adapters, of what is added to them."""
    found: list[Tensor] = []
    seen: set[Any] = set()
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting.extend(before for before, _ in node.next_functions)
    return found


class _Known(torch.autograd.Function):
    """A value whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(gradient * factor.to(gradient.device) for gradient in ctx.saved_tensors)
