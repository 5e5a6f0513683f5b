"""Attention as modules write it that compute it by themselves."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


def _matmul(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = torch.matmul(heads(q), heads(k).transpose(-1, -2)) / 2
    probabilities = nn.functional.softmax(scores.float() + mask, dim=-1).type_as(v)
    return (nn.functional.dropout(probabilities, 0.0) @ heads(v)).transpose(1, 2).flatten(2)


def _scaled_before(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = (heads(q) / 2) @ heads(k).mT
    scores = scores.masked_fill(mask < 0, torch.finfo(scores.dtype).min)
    return (scores.softmax(-1) @ heads(v)).transpose(1, 2).flatten(2)


def _in_place(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = heads(q) @ heads(k).mT
    scores /= 2
    scores += mask
    return (torch.softmax(scores, dim=3).contiguous() @ heads(v)).permute(0, 2, 1, 3).flatten(2)


def _batches_of_heads(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    flat = [heads(x).reshape(-1, x.shape[1], 4) for x in (q, k, v)]
    bias = torch.zeros(1, 1, k.shape[1], dtype=q.dtype)
    scores = bias.expand(flat[0].shape[0], q.shape[1], -1).baddbmm(batch1=flat[0], batch2=flat[1].mT, alpha=0.5)
    probabilities = nn.functional.softmax(scores.view(-1, 2, *scores.shape[1:]) + mask, dim=-1)
    output = torch.bmm(probabilities.view(scores.shape), flat[2])
    return output.view(-1, 2, q.shape[1], 4).transpose(1, 2).flatten(2)


def _einsum(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (x.unflatten(-1, (2, 4)).transpose(0, 1) for x in (q, k, v))  # positions first
    scores = torch.einsum("ibnd,jbnd->bnij", q, k) * torch.full((), 0.5)
    scores = torch.max(scores + mask, torch.tensor(torch.finfo(scores.dtype).min))
    return torch.einsum("bnij,jbnd->ibnd", scores.softmax(dim=3), v).transpose(0, 1).flatten(2)


def _einsum_of_lists(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (x.unflatten(-1, (2, 4)) for x in (q, k, v))
    scores = torch.einsum("...qhd,...khd->...hqk", [q, k]) / 2
    return torch.einsum("...hqk,...khd->...qhd", [(scores + mask).softmax(-1), v]).flatten(2)


def _in_pieces(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (heads(x) for x in (q, k, v))
    scores = torch.cat([torch.einsum("bhqd,bhkd->bhqk", q, k[:, :, :2]), q @ k[:, :, 2:].mT], dim=-1) / 2
    shares = nn.functional.dropout((scores + mask).softmax(-1), 0.0)
    output = torch.einsum("bhqk,bhkd->bhqd", shares[:, :, :, :2], v[:, :, :2])
    output = output + shares[..., 2:] @ v[:, :, 2:]
    return output.transpose(1, 2).flatten(2)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    causal = bool((mask < 0).any())
    output = nn.functional.scaled_dot_product_attention(heads(q), heads(k), heads(v), is_causal=causal)
    return output.transpose(1, 2).flatten(2)


def _fused_with_mask(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    output = nn.functional.scaled_dot_product_attention(heads(q), heads(k), heads(v), attn_mask=mask == 0)
    return output.transpose(1, 2).flatten(2)


def _multihead(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    one = torch.eye(8, dtype=q.dtype)
    last = [x.transpose(0, 1) for x in (q, k, v)]
    rest = (None, None, None, False, 0.0, one, None)
    output, _ = nn.functional.multi_head_attention_forward(
        *last, 8, 2, torch.cat([one] * 3), *rest, attn_mask=mask[0, 0], need_weights=False
    )
    return output.transpose(0, 1)


WAYS = [
    _matmul,
    _scaled_before,
    _in_place,
    _batches_of_heads,
    _einsum,
    _einsum_of_lists,
    _in_pieces,
    _fused,
    _fused_with_mask,
    _multihead,
]


class Own(nn.Module):
    """An attention of two heads of four features that computes by itself."""

    def __init__(self, way: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.way = way

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        result: Tensor = self.way(self.q(x), self.k(x), self.v(x), mask)
        return result


def in_float32(way: Callable[..., Any]) -> bool:
    """Whether its softmax is in float32 whatever it is given."""
    return way is _matmul
