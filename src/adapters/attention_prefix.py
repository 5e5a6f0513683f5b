"""The keys and values that stand before a sequence, in whatever layout an attention computes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ..errors import ModelError, RouteError
from .slot import Slot

KEY = "attention"
"""Name of the attention seam in the slots."""


@dataclass(frozen=True)
class Prefix:
    """Keys and values before the sequence, of every adapter that is on at one attention.

    Attributes:
        keys: Shape (rows, length, key_features), where rows is 1 for a prefix that every row of the batch shares.
        values: Shape (rows, length, value_features).
        hidden: Which of them a row does not have, boolean of shape (rows, length); ``None`` if each has all.
        where: Name of the attention in the model, for messages.
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor | None
    where: str

    @property
    def length(self) -> int:
        """How many keys there are."""
        return self.keys.shape[1]

    def keys_like(self, key: Tensor) -> Tensor:
        """The keys in the layout of ``key``, shape (..., positions, head size): (..., length, head size)."""
        return _cast(self.keys_in(key.shape[:-2], key.shape[-1]), key)

    def values_like(self, value: Tensor) -> Tensor:
        """The values in the layout of ``value``, as ``keys_like``."""
        return _cast(self.values_in(value.shape[:-2], value.shape[-1]), value)

    def keys_in(self, axes: torch.Size, size: int) -> Tensor:
        """The keys as (``*axes``, length, ``size``); the axes are batch and heads, together or apart."""
        return self._laid_out(self.keys, axes, size, "keys")

    def values_in(self, axes: torch.Size, size: int) -> Tensor:
        """The values as (``*axes``, length, ``size``)."""
        return self._laid_out(self.values, axes, size, "values")

    def mask(self, mask: Tensor, batch: int) -> Tensor:
        """An attention mask with the prefix on its left: ``True`` in a boolean one, 0 in an additive, 1 in a counting.

        Args:
            mask: Shape (batch, ..., queries, keys), or (batch, keys); an axis may be 1.
            batch: Size of the first axis of the keys.
        """
        shown = True if mask.dtype == torch.bool else 0.0 if mask.is_floating_point() else 1
        if self.hidden is None:
            return functional.pad(mask, (self.length, 0), value=shown)
        unseen = torch.finfo(mask.dtype).min if mask.is_floating_point() else 0
        axes = torch.Size((batch, *mask.shape[1:-1]))
        hidden = self.hidden_in(axes)
        left = mask.new_full(hidden.shape, shown).masked_fill(hidden, unseen)
        return torch.cat([left.expand(*axes, self.length), mask.expand(batch, *mask.shape[1:])], dim=-1)

    def hide(self, scores: Tensor) -> Tensor:
        """Scores of the prefix, shape (batch, ..., length), with those of hidden keys at their least."""
        if self.hidden is None:
            return scores
        return scores.masked_fill(self.hidden_in(scores.shape[:-1]), torch.finfo(scores.dtype).min)

    def hidden_in(self, axes: torch.Size) -> Tensor:
        """Which keys are hidden, shape (axes[0], 1, ..., length): the first of the axes is the batch."""
        assert self.hidden is not None
        repeats = self._repeats(axes[0])
        repeated = self.hidden if repeats == 1 else self.hidden.repeat_interleave(repeats, 0)
        return repeated.view(axes[0], *[1] * (len(axes) - 1), self.length)

    def _repeats(self, batch: int) -> int:
        """How many places of a batch stand for one row.

        Raises:
            RouteError: It does not hold the rows.
        """
        rows = self.keys.shape[0]
        repeats, rest = divmod(batch, rows)
        if rest or not repeats:
            raise RouteError(
                f"The attention {self.where} computes a batch of {batch} rows and {rows} adapters were named: name one "
                "adapter (or None) for each row. A model that mixes rows on its way cannot be routed."
            )
        return repeats

    def _laid_out(self, prefix: Tensor, axes: torch.Size, size: int, what: str) -> Tensor:
        """Heads that the model repeats for grouped queries are repeated here too."""
        rows, length, features = prefix.shape
        heads, rest = divmod(features, size)
        if rows in (1, *axes[:1]) and len(axes) == 2 and axes[1] == heads and not rest:  # nearly always, so kept short
            return prefix.view(rows, length, heads, size).transpose(1, 2).expand(*axes, length, size)
        place = None if rest else _axis_of_heads(axes, heads)
        if place is None:
            raise ModelError(
                f"The attention {self.where} computes with {what} of the shape {(*axes, 'positions', size)}, and its "
                f"adapter has {features} features for all heads together: they do not fit. This attention cannot be "
                "given a prefix; leave it out of the targets."
            )
        apart = prefix.view(rows, length, heads, size).transpose(1, 2)
        if not axes:
            self._repeats(1)
            return apart[0, 0]
        repeats = self._repeats(axes[0] if place else axes[0] // heads)
        if place == 0:  # batch and heads are one axis, the heads of a row together
            return apart.repeat_interleave(repeats, 0).flatten(0, 1)
        if axes[place] != heads:
            apart = apart.repeat_interleave(axes[place] // heads, 1)
        if rows > 1 and repeats > 1:
            apart = apart.repeat_interleave(repeats, 0)
        between, after = [1] * (place - 1), [1] * (len(axes) - place - 1)
        apart = apart.view(apart.shape[0], *between, axes[place], *after, length, size)
        return apart.expand(*axes, length, size)


def prefix_of(slot: Slot) -> Prefix | None:
    """The prefix of the adapters that are on, in the order they were attached; ``None`` if none is.

    While ``route`` is on it is the prefix of each row's own adapter.
    """
    if slot.rows is not None:
        return slot.rows.once(slot, KEY, _prefix_of_rows)  # type: ignore[no-any-return]
    adapters: list[Any] = [slot._modules[name] for name, switch in slot.switches[KEY].items() if switch.on]
    if not adapters:
        return None
    pairs = [adapter.forward() for adapter in adapters]
    keys, values = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Prefix(_joined(keys), _joined(values), None, adapters[0].where)


def is_open(slot: Slot) -> bool:
    """Whether an adapter is on, or answers a row."""
    if slot.rows is not None:
        return bool(slot.rows.present(slot, KEY))
    for switch in slot.switches[KEY].values():  # noqa: SIM110 - in each forward pass, and this takes half the time
        if switch.on:
            return True
    return False


def _prefix_of_rows(slot: Slot) -> Prefix | None:
    """The prefix of each row, as long as the longest: what a shorter one lacks is hidden, and all from the base."""
    names = slot.rows.present(slot, KEY)
    if not names:
        return None
    adapters: list[Any] = [slot._modules[name] for name in names]
    pairs = [adapter.forward() for adapter in adapters]
    keys, values = (pad_sequence([pair[side] for pair in pairs], batch_first=True) for side in (0, 1))
    lengths = {name: pair[0].shape[0] for name, pair in zip(names, pairs, strict=True)}
    rows = torch.tensor([names.index(name) if name in names else 0 for name in slot.rows.names], device=keys.device)
    own = [lengths.get(name, 0) for name in slot.rows.names]
    places = torch.arange(max(own), device=keys.device)
    hidden = None if min(own) == max(own) else places >= torch.tensor(own, device=keys.device).unsqueeze(1)
    return Prefix(keys[rows], values[rows], hidden, adapters[0].where)


def own_mask(prefix: Prefix, query: Tensor, key: Tensor, *, is_causal: bool) -> Tensor:
    """The mask of an attention without one, with the prefix on its left; causal as ``scaled_dot_product_attention`` is.

    Boolean, of as many axes as ``key``: shape (1 or batch, ..., queries, length + keys).
    """
    seen = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device)
    seen = seen.tril() if is_causal else seen
    return prefix.mask(seen.view(*[1] * (key.dim() - 2), *seen.shape), key.shape[0])


def unused(slot: Slot) -> ModelError:
    """What to raise where the adapters of an attention took no part in its forward pass."""
    adapter: Any = slot._modules[next(iter(slot.switches[KEY]))]
    return ModelError(
        f"The attention {adapter.where} was computed, or part of it, without the keys and values of its adapters: it "
        "neither called the attention function that transformers has registered, nor was it one softmax between two "
        "products. Leave it out of the targets, or choose another attention implementation for the model."
    )


def _cast(prefix: Tensor, like: Tensor) -> Tensor:
    return prefix if prefix.dtype == like.dtype else prefix.to(like.dtype)


def _joined(parts: list[Tensor]) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).unsqueeze(0)


def _axis_of_heads(axes: torch.Size, heads: int) -> int | None:
    """Which axis holds the heads, or a multiple of them; ``None`` if that cannot be told.

    Axis 0 is the batch, which holds the heads too where it is the only one. Of several others, the heads are the one
    of exactly their number; a single head is the same along all of them.
    """
    if len(axes) < 2:
        fits = heads == 1 if not axes else axes[0] % heads == 0
        return 0 if fits else None
    if len(axes) == 2 or heads == 1:
        return 1 if axes[1] % heads == 0 else None
    places = [place for place in range(1, len(axes)) if axes[place] == heads]
    return places[0] if len(places) == 1 else None
