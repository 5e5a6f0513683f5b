"""Products with the weights of quantised experts: the floating-point weight of one expert is there at a time.

Nothing of a weight is kept from forward to backward, which dequantises the experts again.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..kernels import FourBit, Int8
from ..kernels.four_bit import Nested

if TYPE_CHECKING:
    from .quantised_experts import QuantisedExperts

Span = tuple[int, int, int]
"""An expert, and the first of its rows, and the first after them."""


def product(x: Tensor, weight: "QuantisedExperts", expert: int, transposed: bool) -> Tensor:
    """``x M``, or ``x M^T`` where it is transposed, with M the matrix of one expert; x has two axes."""
    return _Product.apply(x, weight, [(expert, 0, x.shape[0])], transposed)  # type: ignore[no-any-return]


def grouped_product(x: Tensor, weight: "QuantisedExperts", ends: Tensor, transposed: bool) -> Tensor:
    """Each row of ``x`` times the matrix of its expert, or that transposed.

    Args:
        x: Shape (rows, in_features), sorted by expert.
        weight: The weights, shape (experts, in_features, out_features), or transposed.
        ends: Where the rows of each expert end, shape (experts,); rows beyond the last give zeros.
        transposed: Whether the weights are (experts, out_features, in_features).
    """
    if torch.compiler.is_compiling():
        y: Tensor = _by_expert(x, ends, *_taken_apart(weight.stored, weight.sizes), transposed)
        return y
    return _Product.apply(x, weight, _spans(ends), transposed)  # type: ignore[no-any-return]


class _Product(Function):
    """The rows of each span times the matrix of its expert."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: "QuantisedExperts", spans: Sequence[Span], transposed: bool) -> Tensor:
        ctx.weight, ctx.spans, ctx.transposed = weight, spans, transposed
        return _multiplied(x, weight.stored, weight.sizes, spans, transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _Product.apply(gradients[0], ctx.weight, ctx.spans, not ctx.transposed), None, None, None


def _multiplied(
    x: Tensor, stored: FourBit | Int8, sizes: Sequence[int], spans: Sequence[Span], transposed: bool
) -> Tensor:
    _, rows, columns = sizes
    y = x.new_zeros(x.shape[0], rows if transposed else columns)
    matrix = x.new_empty(rows, columns)  # one memory for all: on a processor, fresh memory takes time of its own
    for expert, start, end in spans:
        stored.rows(expert * rows, (expert + 1) * rows).dequantise(x.dtype, matrix)
        torch.mm(x[start:end], matrix.t() if transposed else matrix, out=y[start:end])
    return y


def _spans(ends: Tensor) -> list[Span]:
    """The spans of the experts that have rows."""
    stops = ends.tolist()
    spans = enumerate(zip([0, *stops[:-1]], stops, strict=True))
    return [(expert, start, stop) for expert, (start, stop) in spans if stop > start]


# To a compiler a product is one operation: how many rows each expert has is known only when it runs.


@torch.library.custom_op("inarch::by_expert", mutates_args=())
def _by_expert(
    x: Tensor,
    ends: Tensor,
    tensors: Sequence[Tensor],
    sizes: Sequence[int],
    blocksize: int,
    nested_blocksize: int,
    offset: float,
    transposed: bool,
) -> Tensor:
    stored = _put_together(tensors, sizes, blocksize, nested_blocksize, offset)
    return _multiplied(x, stored, sizes, _spans(ends), transposed)


@_by_expert.register_fake
def _(
    x: Tensor,
    ends: Tensor,
    tensors: Sequence[Tensor],
    sizes: Sequence[int],
    blocksize: int,
    nested_blocksize: int,
    offset: float,
    transposed: bool,
) -> Tensor:
    return x.new_empty(x.shape[0], sizes[1] if transposed else sizes[2])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, ends, tensors, *ctx.others, ctx.transposed = inputs
    ctx.save_for_backward(ends, *tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    ends, *tensors = ctx.saved_tensors
    of_x = _by_expert(gradient, ends, tensors, *ctx.others, not ctx.transposed)
    return of_x, None, [None] * len(tensors), *[None] * 5


_by_expert.register_autograd(_backward, setup_context=_save)


def _taken_apart(stored: FourBit | Int8, sizes: Sequence[int]) -> tuple[list[Tensor], list[int], int, int, float]:
    """The arguments of the operation that stand for a weight."""
    if isinstance(stored, Int8):
        return [stored.weight, stored.scales], list(sizes), 0, 0, 0.0
    tensors, nested = [stored.packed, stored.absmax, stored.code], stored.nested
    if nested is None:
        return tensors, list(sizes), stored.blocksize, 0, 0.0
    return [*tensors, nested.absmax, nested.code], list(sizes), stored.blocksize, nested.blocksize, nested.offset


def _put_together(
    tensors: Sequence[Tensor], sizes: Sequence[int], blocksize: int, nested_blocksize: int, offset: float
) -> FourBit | Int8:
    """The weight that the arguments stand for; a product says the dtype."""
    if not blocksize:
        codes, scales = tensors
        return Int8(codes, scales, torch.float32)
    codes, scales, codebook, *of_scales = tensors
    nested = Nested(of_scales[0], of_scales[1], offset, nested_blocksize) if of_scales else None
    return FourBit(codes, scales, codebook, "nf4", torch.Size(sizes), torch.float32, blocksize, nested)
