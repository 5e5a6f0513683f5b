"""What a block keeps of its forward pass for its backward pass: everything, its attention's outputs, or its input.

transformers calls a block that is to be checkpointed through the block's own ``_gradient_checkpointing_func``; the
functions here are such functions. Whatever is not kept is computed again in the backward pass, by torch's checkpoint
(arXiv:1604.06174) in the variant that keeps autograd's graph: it needs no input that asks for a gradient, and stops as
soon as it has what the backward pass needs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Self

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from ..quant.recomputation import recomputing

_ATTENTION = frozenset(
    {
        "aten::_cudnn_attention_forward",
        "aten::_efficient_attention_forward",
        "aten::_flash_attention_forward",
        "aten::_scaled_dot_product_cudnn_attention",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_fused_attention_overrideable",
        "flash_attn::_flash_attn_forward",
        "flash_attn::_flash_attn_varlen_forward",
        "flash_attn_3::_flash_attn_forward",
        "flash_attn_3::fwd",
        "flex_attention",
    }
)
"""Operations that compute a whole attention, by the names they are registered under in torch and in flash-attn."""


def keep_input(function: Callable[..., Any], *args: Any) -> Any:
    """Call a block's ``function`` and keep its arguments alone: the rest is computed again in the backward pass."""
    return _checkpointed(_input_alone, function, args)


def keep_attention(function: Callable[..., Any], *args: Any) -> Any:
    """As ``keep_input``, and keep the outputs of its attention, which is not computed again.

    Attention with dropout is: if it drew no random numbers when the block is recomputed, what follows would draw
    others than it did.
    """
    return _checkpointed(_input_and_attention, function, args)


Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


def _checkpointed(contexts: Callable[[], Contexts], function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    if not torch.is_grad_enabled():
        return function(*args)
    if torch.compiler.is_compiling():  # the compiler follows no contexts but its own
        return checkpoint(function, *args, use_reentrant=False)
    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts)


def _input_alone() -> Contexts:
    return nullcontext(), _Recomputation()


def _input_and_attention() -> Contexts:
    kept: list[Any] = []
    return _Keep(kept), _Recomputation(kept)


class _Recomputation:
    """Around a recomputation; entered once for each, as there is one for each backward pass of a graph that is kept.

    Args:
        kept: What is not to be computed again.
    """

    def __init__(self, kept: list[Any] | None = None) -> None:
        self._kept = kept
        self._running: list[ExitStack] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(recomputing())
            if self._kept is not None:
                stack.enter_context(_Give(self._kept))
            self._running.append(stack.pop_all())
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.pop().close()


class _AttentionMode(TorchDispatchMode):
    """Meets every operation, and asks ``attend`` for what attention gives.

    Args:
        kept: For each attention in order, the operation and what it has given.
    """

    supports_higher_order_operators = True

    def __init__(self, kept: list[Any]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_attention(func) and not _draws(func, args, kwargs):
            return self.attend(func, args, kwargs)
        return func(*args, **kwargs)

    def attend(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError


class _Keep(_AttentionMode):
    """Keeps what attention gives."""

    def attend(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        self.kept.append((func, _apart(output)))
        return output


class _Give(_AttentionMode):
    """Gives what was kept, in the order in which it was."""

    def __init__(self, kept: list[Any]) -> None:
        super().__init__(kept)
        self._next = 0

    def attend(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place, self._next = self._next, self._next + 1
        if place < len(self.kept) and self.kept[place][0] is func:
            return _apart(self.kept[place][1])
        return func(*args, **kwargs)


def _apart(output: Any) -> Any:
    """The same values outside of autograd: it writes into tensors which node they come from, and that holds these."""
    return tree_map_only(Tensor, torch.detach, output)


def is_attention(func: Any) -> bool:
    """Whether an operation, as a dispatch mode meets it, computes a whole attention."""
    return _name(func) in _ATTENTION


def _name(func: Any) -> str:
    if isinstance(func, OpOverload):
        return str(func._schema.name)
    return str(func.name()) if isinstance(func, HigherOrderOperator) else ""


def _draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an attention draws random numbers."""
    for place, argument in enumerate(func._schema.arguments if isinstance(func, OpOverload) else ()):
        if argument.name in ("dropout_p", "p_dropout"):
            given = args[place] if place < len(args) else kwargs.get(argument.name, argument.default_value)
            return bool(given)
    return False
