"""The low-rank paths of several adapters on one batch, each row with its own."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from .path import LowRankPath


def all_rows(
    adapters: Sequence[LowRankPath | None], weights: Sequence[float]
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """``y'_i = y_i + w_i scale_i B_i A_i x_i`` for every row i, in as many operations as one adapter takes.

    The A of all adapters are one tall matrix and the B one wide matrix; between them a row keeps the products of its
    own adapter, times weight and scale, and drops the others'.

    Args:
        adapters: The adapter of each row; ``None`` for a row that has none.
        weights: The weight of each row's adapter.
    """
    present = list(dict.fromkeys(adapter for adapter in adapters if adapter is not None))
    if any(adapter.dropout and adapter.training for adapter in present):
        return None
    A = torch.cat([adapter.lora_A for adapter in present])
    B = torch.cat([adapter.lora_B for adapter in present], dim=1)
    place = {adapter: index for index, adapter in enumerate(present)}
    owners = tuple(-1 if adapter is None else place[adapter] for adapter in adapters)
    factors = tuple(
        0.0 if adapter is None else weight * adapter.scale for adapter, weight in zip(adapters, weights, strict=True)
    )
    kept = _kept(owners, factors, tuple(adapter.lora_A.shape[0] for adapter in present), A.dtype, A.device)

    def adapted(x: Tensor, y: Tensor) -> Tensor:
        low = functional.linear(x, A.to(x.dtype))
        own = low.view(len(kept), -1, low.shape[-1]) * kept.to(low.dtype)
        return y + functional.linear(own.view(low.shape).to(y.dtype), B.to(y.dtype))

    return adapted


@lru_cache(maxsize=64)
def _kept(
    owners: tuple[int, ...],
    factors: tuple[float, ...],
    ranks: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """What each row's products are multiplied by, shape (rows, 1, sum of ranks); most sites of a model share it."""
    column = [index for index, rank in enumerate(ranks) for _ in range(rank)]
    rows = [
        [factor if index == owner else 0.0 for index in column] for owner, factor in zip(owners, factors, strict=True)
    ]
    return torch.tensor(rows, dtype=dtype, device=device).unsqueeze(1)
