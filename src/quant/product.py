"""The product with a stored weight and its low-rank change, as one step of autograd that keeps nothing but its input.

What separate steps would keep for the backward pass (the weight in floating point, ``A x``, a dropout mask) is computed
again there: the weight is dequantised again, unless a recomputation has just done so, ``A x`` is a thin product, and
the mask is drawn again from its seed. The input is kept by a node before the product, so that a checkpoint whose last
kept tensor it is need not recompute the product itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ..kernels import FourBit, fp8_linear
from ..kernels.fp8_linear import MULTIPLE
from .buffers import BUFFERS
from .factors import Factors
from .operand import Floating, Operand


def linear(
    x: Tensor, operand: Operand, bias: Tensor | None = None, factors: Factors | None = None, *, fp8: bool = False
) -> Tensor:
    """``(W + scale B A) x + bias``, or ``m / ||V|| V x + bias`` for factors with a magnitude.

    The change is added to the weight while that is dequantised, where it costs nothing for each token, if the weight is
    dequantised anyway and there are tokens enough; else it is a path of its own.

    Args:
        x: Shape (..., in_features); computed with in its dtype, or in that of autocast.
        operand: W, frozen.
        bias: Shape (out_features,).
        factors: The change.
        fp8: Whether to compute the base's product in float8_e4m3fn in the forward pass, where W is in four bits.

    Returns:
        Shape (..., out_features).
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return linear(x.to(torch.get_autocast_dtype(kind)), operand, bias, factors, fp8=fp8)
    step = _Step.of(x, operand, factors, fp8)
    matrices = () if factors is None else (factors.B, factors.A)
    if x.requires_grad and torch.is_grad_enabled():
        x = _Kept.apply(step, x, *(matrix.detach() for matrix in matrices))
    y: Tensor
    if factors is None or factors.magnitude is None:
        y = _Product.apply(step, x, bias, *matrices)
        return y
    y, length = _Product.apply(step, x, None, *matrices)
    y = y * (factors.magnitude / length).to(y.dtype)
    return y if bias is None else y + bias.to(y.dtype)


MERGED_ON_GPU = 256
"""Tokens from which ``B A`` is added to the weight on a GPU.

By arithmetic: of rank 16 it is 0.04 ps a parameter at 790 TFLOP/s, under the 0.6 ps that 2.5 bytes take at 4.3 TB/s.
"""


def merges(x: Tensor, operand: Operand) -> bool:
    """Whether to add ``B A`` to the weight that ``x`` is multiplied by.

    It takes ``2 rank in out`` operations, and a path of its own ``2 rank (in + out)`` for each token.
    """
    out_features, in_features = operand.shape
    tokens = x.numel() // x.shape[-1]
    least = MERGED_ON_GPU if x.is_cuda else in_features * out_features / (in_features + out_features)
    return not isinstance(operand, Floating) and tokens >= least


@dataclass(eq=False)
class _Step:
    """One product, as its nodes in the graph share it.

    Attributes:
        operand: W.
        merged: Whether the change is added to the weight.
        scale: What the change is multiplied by.
        dropout: Probability that a feature of x is dropped before A.
        seed: What those features are drawn from.
        measures: Whether the norms of the weights of each output are asked for.
        fp8: Whether the base's product is computed in eight bits of floating point.
        node: The node that keeps the tensors.
    """

    operand: Operand
    merged: bool = False
    scale: float = 1.0
    dropout: float = 0.0
    seed: int = 0
    measures: bool = False
    fp8: bool = False
    node: Any = None

    @classmethod
    def of(cls, x: Tensor, operand: Operand, factors: Factors | None, fp8: bool) -> Self:
        """The step for ``x``."""
        measures = factors is not None and factors.magnitude is not None  # the norms are those of the merged weight
        fp8 = (
            fp8 and not measures and isinstance(operand, FourBit) and not any(size % MULTIPLE for size in operand.shape)
        )
        if factors is None:
            return cls(operand, fp8=fp8)
        merged = measures or (not fp8 and not factors.dropout and merges(x, operand))
        seed = int(torch.randint(2**62, ())) if factors.dropout else 0
        return cls(operand, merged, factors.scale, factors.dropout, seed, measures, fp8)

    def product(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """``W x + bias``, or ``V x + bias`` where the change is merged."""
        bias = None if bias is None else bias.to(x.dtype)
        if weight is not None:
            return functional.linear(x, weight, bias)
        assert isinstance(self.operand, FourBit)
        y = fp8_linear(x, *self.operand.to_fp8())
        return y if bias is None else y.add_(bias)

    def weight(self, like: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """What ``like`` is multiplied by, in its dtype."""
        operand, dtype = self.operand, like.dtype
        if not self.borrows:
            return operand.dequantise(dtype)
        out = BUFFERS.take(operand.shape, dtype, like.device)
        if not self.merged:
            return operand.dequantise(dtype, out)
        B, A = matrices
        return operand.plus((B * self.scale).to(dtype), A.to(dtype), dtype, out)

    @property
    def borrows(self) -> bool:
        """Whether the weight lies in memory that is to be given back."""
        return self.merged or not isinstance(self.operand, Floating)

    def dropped(self, x: Tensor) -> Tensor:
        """``dropout(x)`` of shape (tokens, in_features), with the same features dropped at every call."""
        if not self.dropout:
            return x
        generator = torch.Generator(x.device).manual_seed(self.seed)
        mask = torch.empty(x.shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.dropout, generator=generator)
        return mask.mul_(x).div_(1 - self.dropout)


class _Kept(Function):
    """The identity; keeps x and the thin matrices, before the product is computed."""

    @staticmethod
    def forward(ctx: Any, step: _Step, x: Tensor, *matrices: Tensor) -> Tensor:
        ctx.save_for_backward(x, *matrices)
        step.node = ctx
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, gradients[0], *(None for _ in ctx.needs_input_grad[2:])


class _Product(Function):
    """``x V^T + bias``, and the norms of the rows of V where they are asked for."""

    @staticmethod
    def forward(ctx: Any, step: _Step, x: Tensor, bias: Tensor | None, *matrices: Tensor) -> Any:
        weight = None if step.fp8 else step.weight(x, matrices)
        y = step.product(x, weight, bias)
        if matrices and not step.merged:
            B, A = (matrix.to(x.dtype) for matrix in matrices)
            y.view(-1, y.shape[-1]).addmm_(step.dropped(_rows(x)) @ A.t(), B.t(), alpha=step.scale)
        length = _lengths(weight) if step.measures and weight is not None else None
        if weight is not None and step.borrows:
            BUFFERS.put(step.operand, step.merged, weight)
        ctx.step = step
        if step.node is None:  # x needs no gradient, so it went through no node
            ctx.save_for_backward(x, *matrices)
        if length is None:
            return y
        ctx.mark_non_differentiable(length)
        return y, length

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        step: _Step = ctx.step
        x, *matrices = (ctx if step.node is None else step.node).saved_tensors
        gradient = _rows(gradients[0])
        low = gradient @ matrices[0].to(x.dtype) if matrices else None
        of_x = _gradient_of_x(step, gradient, x, low, matrices) if ctx.needs_input_grad[1] else None
        of_bias = gradient.sum(0) if ctx.needs_input_grad[2] else None
        if low is None or not any(ctx.needs_input_grad[3:]):
            return None, of_x, of_bias, *(None for _ in matrices)
        B, A = matrices
        dropped = step.dropped(_rows(x))
        of_b = ((dropped @ A.to(x.dtype).t()).t() @ gradient).t().to(B.dtype).mul_(step.scale)
        of_a = (low.t() @ dropped).to(A.dtype).mul_(step.scale)
        return None, of_x, of_bias, of_b, of_a


def _gradient_of_x(step: _Step, gradient: Tensor, x: Tensor, low: Tensor | None, matrices: Sequence[Tensor]) -> Tensor:
    """``g V``; ``low`` is ``g B``."""
    weight = BUFFERS.kept(step.operand, step.merged, x.dtype)
    if weight is None:
        weight = step.weight(x, matrices)
    of_x = gradient @ weight
    if step.borrows:
        BUFFERS.give(weight)
    if low is not None and not step.merged:
        A = matrices[1].to(x.dtype)
        if step.dropout:
            of_x += step.dropped(low @ A).mul_(step.scale)
        else:
            of_x.addmm_(low, A, alpha=step.scale)
    return of_x.view(x.shape)


def _lengths(weight: Tensor) -> Tensor:
    """The norms of the rows, at least in float32."""
    precise = torch.promote_types(weight.dtype, torch.float32)
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=1, dtype=precise)
    return lengths


def _rows(x: Tensor) -> Tensor:
    """Shape (tokens, features)."""
    return x.reshape(-1, x.shape[-1])
