"""Attention that a module computes by itself: its scores are followed through PyTorch's functions.

``softmax(q [P_K; K]^T) [P_V; V]`` is had without changing a shape that the module sees. Beside the product ``q K^T``
the *scores of the prefix* ``q P_K^T`` go through the same steps (scaling, reshaping, capping); the softmax is taken of
both side by side, so that the module gets the shares of its own keys; and to the product of those with the values the
shares of the prefix times ``P_V`` are added. What is added to or masked out of single keys does not touch the prefix.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from .attention_multihead import attend
from .attention_prefix import Prefix, own_mask, prefix_of, unused
from .attention_product import Einsum, Matmul, Product
from .slot import SLOT, Slot

Call = Callable[..., Any]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


@dataclass
class Pieces:
    """The shares of one softmax, for a module that weighs the values in pieces and adds the results up.

    Attributes:
        spent: Whether the prefix has come into the result of a piece, as it is to do once.
    """

    spent: bool = False


@dataclass(frozen=True)
class Followed:
    """A product of queries and keys, or what has become of it.

    Attributes:
        tensor: What the module has: the scores of its own keys, or their shares; the keys are the last axis.
        prefix: Computes those of the prefix, in the same layout.
        shares: The shares that it belongs to, once the softmax has been taken.
        is_piece: Whether it is a piece of them.
    """

    tensor: Tensor
    prefix: Callable[[], Tensor]
    shares: Pieces | None = None
    is_piece: bool = False


class AttentionWatch(TorchFunctionMode):
    """Follows the scores inside one forward pass of one attention.

    Attributes:
        slot: The slot of the attention.
        idle: Whether nothing was projected or multiplied: a forward pass that leaves its attention out.
        used: Whether the prefix has come into an output.
        lost: Whether there is attention besides that the prefix has not come into, or that is no softmax attention.
    """

    def __init__(self, slot: Slot, prefix: Prefix) -> None:
        super().__init__()
        self.slot = slot
        self.idle = True
        self.used = False
        self.lost = False
        self._prefix = prefix
        self._followed: list[Followed] = []
        self._outputs: list[Tensor] = []
        self._records = torch.is_grad_enabled()

    def __torch_function__(self, func: Call, types: Any, args: Args = (), kwargs: Kwargs | None = None) -> Any:
        """Called in the place of every function of PyTorch's."""
        step = _STEPS.get(func)
        return func(*args, **(kwargs or {})) if step is None else step(self, func, args, kwargs or {})

    def projection(self, func: Call, args: Args, kwargs: Kwargs) -> Tensor:
        """Something is computed."""
        self.idle = False
        return func(*args, **kwargs)  # type: ignore[no-any-return]

    def fused(self, func: Call, args: Args, kwargs: Kwargs) -> Tensor:
        """A whole attention in one function: the prefix stands before its keys and values."""
        return self._fused(func, *args, **kwargs)

    def multihead(self, func: Call, args: Args, kwargs: Kwargs) -> tuple[Tensor, Tensor | None]:
        """Likewise, with the projections too."""
        self.used = True
        return attend(self._prefix, func, args, kwargs)

    def product(self, func: Call, args: Args, kwargs: Kwargs) -> Tensor:
        """Perhaps queries and keys; or shares and values, which the prefix is added to."""
        result = self.projection(func, args, kwargs)
        product = _product_of(func, args, kwargs)
        if product is None:
            return result
        self._notice(product.factors)
        shares = self._first(product.factors)
        if shares is None or shares.shares is None:
            self._followed.append(Followed(result, lambda: product.scores(self._prefix)))
            return result
        if shares.is_piece and shares.shares.spent:
            return result
        added = product.weighed(shares.tensor, shares.prefix(), self._prefix)
        if added is None:
            return result
        self.used = shares.shares.spent = True
        self._outputs.append(result + added.to(result.dtype))
        return self._outputs[-1]

    def softmax(self, func: Call, args: Args, kwargs: Kwargs) -> Tensor:
        """The shares of the prefix and of the module's own keys together."""
        scores = self._first(args[:1])
        dim = kwargs["dim"] if "dim" in kwargs else args[1] if len(args) > 1 else None
        over_last = dim in (-1, args[0].dim() - 1)
        # A softmax inside an autograd.Function is not recorded, and the gradient written there knows of no prefix.
        if scores is None or scores.shares or not over_last or torch.is_grad_enabled() is not self._records:
            self.lost |= over_last
            return func(*args, **kwargs)  # type: ignore[no-any-return]
        length = self._prefix.length
        of_prefix = self._prefix.hide(scores.prefix().to(scores.tensor.dtype))
        of_prefix = of_prefix.expand(*scores.tensor.shape[:-1], length)
        together = func(torch.cat([of_prefix, scores.tensor], dim=-1), *args[1:], **kwargs)
        shares: Tensor = together[..., length:].contiguous()
        self._followed.append(Followed(shares, lambda: together[..., :length], Pieces()))
        return shares

    def concatenation(self, func: Call, args: Args, kwargs: Kwargs) -> Tensor:
        """Scores of several groups of keys side by side: those of the prefix stand with the first."""
        result: Tensor = func(*args, **kwargs)
        followed = self._first(args[0])
        dim = kwargs["dim"] if "dim" in kwargs else args[1] if len(args) > 1 else 0
        if followed is not None and followed.shares is None and dim in (-1, result.dim() - 1):
            self._follow(followed, result, followed.prefix)
        return result

    def item(self, func: Call, args: Args, kwargs: Kwargs) -> Any:
        """The shares of some of the keys."""
        followed, index = self._first(args[:1]), args[1]
        result = func(*args, **kwargs)
        if followed is not None and followed.shares is not None and _is_of_last(index, followed.tensor.dim()):
            self._followed.append(Followed(result, followed.prefix, followed.shares, is_piece=True))
        return result

    def elementwise(self, func: Call, args: Args, kwargs: Kwargs) -> Any:
        """Done to the prefix as well, unless it differs from key to key: such is a mask, or a bias of positions."""
        followed = self._first(args)
        result = func(*args, **kwargs)
        keys = followed.tensor.shape[-1] if followed is not None else 0
        if followed is not None and isinstance(result, Tensor) and result.shape[-1:] == (keys,):
            others = [item for item in (*args, *kwargs.values()) if isinstance(item, Tensor)]
            others = [other for other in others if other is not followed.tensor and other.dim() > 0]
            self.lost |= (
                followed.shares is not None and func in _DIVIDING and bool(others)
            )  # shares of the own keys anew
            if any(_has_axis(other, keys, func) for other in others):
                self._follow(followed, result, followed.prefix)
            else:
                at = next(place for place, item in enumerate(args) if item is followed.tensor)
                self._follow(followed, result, lambda: func(*args[:at], followed.prefix(), *args[at + 1 :], **kwargs))
        return result

    def reshape(self, func: Call, args: Args, kwargs: Kwargs) -> Any:
        """Axes before the keys taken together or apart."""
        followed = self._first(args[:1])
        result = func(*args, **kwargs)
        if followed is not None and result.shape[-1:] == followed.tensor.shape[-1:]:
            shape = (*result.shape[:-1], self._prefix.length)
            self._follow(followed, result, lambda: followed.prefix().reshape(shape))
        return result

    def permute(self, func: Call, args: Args, kwargs: Kwargs) -> Any:
        """Axes before the keys in another order."""
        followed = self._first(args[:1])
        result = func(*args, **kwargs)
        if followed is not None and _keeps_last(func, args, followed.tensor.dim()):
            self._follow(followed, result, lambda: func(followed.prefix(), *args[1:], **kwargs))
        return result

    def _fused(
        self,
        func: Call,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        prefix = self._prefix
        if attn_mask is not None:
            more = [1] * (key.dim() - attn_mask.dim())
            attn_mask = prefix.mask(attn_mask.view(*more, *attn_mask.shape), key.shape[0])
        elif is_causal or prefix.hidden is not None:
            attn_mask = own_mask(prefix, query, key, is_causal=is_causal)
        self.used = True
        key = torch.cat([prefix.keys_like(key), key], dim=-2)
        value = torch.cat([prefix.values_like(value), value], dim=-2)
        return func(query, key, value, attn_mask, dropout_p, False, **kwargs)  # type: ignore[no-any-return]

    def _first(self, tensors: Iterable[Any]) -> Followed | None:
        """What is followed of the first of ``tensors`` that is, in its latest state."""
        for tensor in tensors:
            for followed in reversed(self._followed):
                if followed.tensor is tensor:
                    return followed
        return None

    def _notice(self, factors: tuple[Tensor, Tensor]) -> None:
        """Outputs that are multiplied by something computed were no outputs, but part of an approximation."""
        for factor, other in (factors, factors[::-1]):
            if any(factor is output for output in self._outputs) and not isinstance(other, nn.Parameter):
                self.lost = True

    def _follow(self, before: Followed, result: Tensor, prefix: Callable[[], Tensor]) -> None:
        self._followed.append(Followed(result, prefix, before.shares, before.is_piece))


def start_watching(module: nn.Module, args: Any) -> None:
    """The hook before a module that computes attention by itself."""
    slot: Any = module._modules[SLOT]
    prefix = prefix_of(slot)
    if prefix is not None:
        AttentionWatch(slot, prefix).__enter__()


def stop_watching(module: nn.Module, args: Any, output: Any) -> None:
    """The hook after it; ``output`` is ``None`` where the forward pass has failed.

    Raises:
        ModelError: Its adapters took no part.
    """
    slot: Any = module._modules[SLOT]
    watch = _get_current_function_mode()
    if isinstance(watch, AttentionWatch) and watch.slot is slot:
        watch.__exit__(None, None, None)
        if output is not None and (watch.lost or not (watch.used or watch.idle)):
            raise unused(slot)


def _product_of(func: Call, args: Args, kwargs: Kwargs) -> Product | None:
    if func is torch.einsum:
        return Einsum.of(*args)
    given = [*args, *(kwargs[name] for name in ("batch1", "batch2", "mat2", "other") if name in kwargs)]
    return Matmul(given[-2], given[-1], kwargs.get("alpha", 1))


def _has_axis(other: Tensor, keys: int, func: Call) -> bool:
    """Whether ``other`` differs from key to key; of a single key, only what is added can tell."""
    return other.shape[-1] == keys and (keys > 1 or func in _ADDING)


def _keeps_last(func: Call, args: Args, axes: int) -> bool:
    dims = args[1] if isinstance(args[1], (tuple, list)) else args[1:]
    if func in _PERMUTE:
        return bool(dims[-1] % axes == axes - 1)
    return all(dim % axes != axes - 1 for dim in dims)


def _is_of_last(index: Any, axes: int) -> bool:
    """Whether an index takes a slice of the last axis and the whole of the others."""
    if not isinstance(index, tuple) or not isinstance(index[-1], slice):
        return False
    rest = [place for place in index[:-1] if place is not Ellipsis]
    return all(place == slice(None) for place in rest) and (len(rest) == axes - 1 or Ellipsis in index[:-1])


def _functions(names: str, *owners: Any) -> frozenset[Call]:
    return frozenset(getattr(owner, name) for owner in owners for name in names.split() if hasattr(owner, name))


_PERMUTE = _functions("permute", torch, Tensor)
_ADDING = _functions("add add_ __add__ __radd__ __iadd__ masked_fill masked_fill_ where maximum minimum", torch, Tensor)
_DIVIDING = _functions("div div_ __truediv__ __itruediv__ divide true_divide", torch, Tensor)
_STEPS: dict[Call, Callable[[AttentionWatch, Call, Args, Kwargs], Any]] = {
    **dict.fromkeys(_functions("linear addmm conv1d conv2d conv3d", torch, functional), AttentionWatch.projection),
    **dict.fromkeys(_functions("matmul bmm __matmul__ baddbmm einsum", torch, Tensor), AttentionWatch.product),
    **dict.fromkeys(_functions("softmax", torch, Tensor, functional), AttentionWatch.softmax),
    functional.scaled_dot_product_attention: AttentionWatch.fused,
    functional.multi_head_attention_forward: AttentionWatch.multihead,
    **dict.fromkeys(
        _ADDING
        | _DIVIDING
        | _functions(
            "sub sub_ __sub__ __isub__ subtract mul mul_ __mul__ __rmul__ __imul__ multiply tanh clamp clamp_ clip max "
            "nan_to_num dropout to type float half bfloat16 double type_as contiguous clone",
            torch,
            Tensor,
            functional,
        ),
        AttentionWatch.elementwise,
    ),
    **dict.fromkeys(
        _functions("view reshape flatten unflatten squeeze unsqueeze", torch, Tensor), AttentionWatch.reshape
    ),
    **dict.fromkeys(_functions("cat concat", torch), AttentionWatch.concatenation),
    Tensor.__getitem__: AttentionWatch.item,
    **dict.fromkeys(_functions("transpose swapaxes permute", torch, Tensor), AttentionWatch.permute),
}
