"""Logits that have not been computed: the head's input, and what the model does to the logits afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..errors import TrainingError

Operation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LazyHead:
    """An output head that is to be run on a few rows at a time.

    Attributes:
        compute: The head: hidden states of shape (..., rows, hidden) to logits of shape (..., rows, vocabulary).
        axes: How many axes it is given.
        cross_entropy: The cross entropy of lazy logits of shape (rows, vocabulary) with classes; it takes the keyword
            arguments of ``torch.nn.functional.cross_entropy``.
    """

    compute: Operation
    axes: int
    cross_entropy: Callable[..., Tensor]


class LazyLogits(Tensor):
    """A tensor of shape (..., vocabulary) without memory, which stands for ``operations(head(hidden))``.

    It has the shape, dtype and device of the logits. What a model usually does to its logits is done to it: whatever
    concerns the axes before the last is done to the hidden states at once, whatever is done to each logit is written
    down, and the cross entropy is computed row by row. Anything else raises.

    Attributes:
        hidden: The head's input, of shape (..., hidden).
        head: The head.
        operations: What is done to the logits, in order.
        sample: No rows of such logits: what ``operations`` make of their size and dtype.
    """

    hidden: Tensor
    head: LazyHead
    operations: tuple[Operation, ...]
    sample: Tensor

    @staticmethod
    def __new__(
        cls, hidden: Tensor, head: LazyHead, sample: Tensor, operations: tuple[Operation, ...] = ()
    ) -> "LazyLogits":
        """Lazy logits of a head's input."""
        shape = (*hidden.shape[:-1], sample.shape[-1])
        made: LazyLogits = Tensor._make_wrapper_subclass(cls, shape, dtype=sample.dtype, device=sample.device)
        made.hidden, made.head, made.sample, made.operations = hidden, head, sample, operations
        return made

    def materialise(self) -> Tensor:
        """The logits, computed in full, with their gradients to the head and the hidden states."""
        return self.rows(self.hidden.reshape(-1, self.hidden.shape[-1])).reshape(self.shape)

    def rows(self, hidden: Tensor) -> Tensor:
        """The logits of other hidden states, both of shape (rows, ...)."""
        logits = self.head.compute(hidden.reshape((1,) * (self.head.axes - 2) + hidden.shape))
        for operation in self.operations:
            logits = operation(logits)
        return logits.reshape(hidden.shape[0], -1)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"LazyLogits(shape={tuple(self.shape)}, dtype={self.dtype}, device={self.device})"

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, kwargs = _name(func), dict(kwargs or {})
        if name in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if name == "cross_entropy" and isinstance(args[0], LazyLogits):
            return _cross_entropy(*args, **kwargs)
        done = None
        if args and isinstance(args[0], LazyLogits) and name in _STRUCTURE:
            done = _STRUCTURE[name](args[0], *args[1:], **kwargs)
        elif name in _POINTWISE:
            done = _pointwise(func, args, kwargs)
        if done is None:
            raise _refusal(name)
        return done

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise _refusal(str(func))


def _refusal(what: str) -> TrainingError:
    return TrainingError(
        f'The engine\'s "chunked loss" does not compute the logits of a training step with labels, and {what} needs '
        "them. Call .materialise() on the logits, call the model in evaluation mode or without labels, or leave that "
        "feature of the engine out."
    )


def _name(func: Any) -> str:
    """``mul`` of ``Tensor.mul``, and ``shape`` of the getter of ``Tensor.shape``."""
    name: str = func.__name__
    return str(func.__self__.__name__) if name == "__get__" else name


def _cross_entropy(
    logits: LazyLogits,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The arguments of ``torch.nn.functional.cross_entropy``."""
    usual = weight is None and size_average is None and reduce is None and reduction in ("mean", "sum")
    if not usual or logits.dim() != 2 or target.shape != logits.shape[:1] or target.is_floating_point():
        raise _refusal(f"a cross entropy of {tuple(logits.shape)} with {tuple(target.shape)}, reduction={reduction!r},")
    return logits.head.cross_entropy(
        logits, target, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


def _record(logits: LazyLogits, operation: Operation) -> LazyLogits:
    return LazyLogits(logits.hidden, logits.head, operation(logits.sample), (*logits.operations, operation))


def _moved(logits: LazyLogits, hidden: Tensor) -> LazyLogits:
    return LazyLogits(hidden, logits.head, logits.sample, logits.operations)


def _pointwise(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> LazyLogits | None:
    """Something done to every logit; with another tensor only where that is the same for every row."""
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    logits, *more = [each for each in tensors if isinstance(each, LazyLogits)]
    given = [each for each in tensors if not isinstance(each, LazyLogits)]
    if more or any(prod(each.shape[:-1]) != 1 for each in given) or "out" in kwargs:
        return None
    flat = {id(each): each if each.dim() == 0 else each.reshape(-1) for each in given}

    def operation(chunk: Tensor) -> Tensor:
        def there(value: Any) -> Any:
            return chunk if isinstance(value, LazyLogits) else flat.get(id(value), value)

        return func(*map(there, args), **{key: there(value) for key, value in kwargs.items()})

    return _record(logits, operation)


def _getitem(logits: LazyLogits, key: Any) -> LazyLogits | None:
    """Indices of the axes before the last, and a slice of the last."""
    keys = key if isinstance(key, tuple) else (key,)
    axes = sum(_axes(each) for each in keys)
    last: Any = slice(None)
    if axes == logits.dim() or (keys[-1] is not Ellipsis and any(each is Ellipsis for each in keys)):
        *first, last = keys
        keys = (*first, slice(None))
    if axes > logits.dim() or not isinstance(last, slice):
        return None
    moved = _moved(logits, logits.hidden[keys])
    return moved if last == slice(None) else _record(moved, lambda chunk: chunk[..., last])


def _axes(key: Any) -> int:
    """How many axes one of several indices takes up."""
    if key is None or key is Ellipsis:
        return 0
    return key.dim() if isinstance(key, Tensor) and key.dtype == torch.bool else 1


def _view(logits: LazyLogits, *shape: Any) -> LazyLogits | None:
    """Another shape of the axes before the last."""
    sizes = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
    if not all(isinstance(size, int) for size in sizes) or not sizes:
        return None
    if sizes[-1] == -1:
        sizes[-1] = logits.numel() // max(prod(sizes[:-1]), 1)
    if sizes[-1] != logits.shape[-1]:
        return None
    return _moved(logits, logits.hidden.reshape(*sizes[:-1], logits.hidden.shape[-1]))


def _flatten(logits: LazyLogits, start_dim: int = 0, end_dim: int = -1) -> LazyLogits | None:
    if end_dim % logits.dim() == logits.dim() - 1:
        return None
    return _moved(logits, logits.hidden.flatten(start_dim, end_dim))


def _transpose(logits: LazyLogits, dim0: int, dim1: int) -> LazyLogits | None:
    if logits.dim() - 1 in (dim0 % logits.dim(), dim1 % logits.dim()):
        return None
    return _moved(logits, logits.hidden.transpose(dim0, dim1))


def _squeeze(logits: LazyLogits, dim: int) -> LazyLogits | None:
    return None if dim % logits.dim() == logits.dim() - 1 else _moved(logits, logits.hidden.squeeze(dim))


def _same(logits: LazyLogits, **settings: Any) -> LazyLogits:
    return logits


_METADATA = frozenset(
    {
        "shape",
        "dtype",
        "device",
        "layout",
        "ndim",
        "requires_grad",
        "is_leaf",
        "grad_fn",
        "is_cuda",
        "is_cpu",
        "is_meta",
        "is_quantized",
        "is_sparse",
        "is_nested",
        "is_mkldnn",
        "is_xla",
        "is_xpu",
        "is_mps",
        "itemsize",
        "size",
        "dim",
        "ndimension",
        "numel",
        "nelement",
        "__len__",
        "is_floating_point",
        "is_complex",
        "element_size",
        "get_device",
        "__hash__",
    }
)
"""What is known of a tensor without its values."""

_STRUCTURE: Mapping[str, Callable[..., LazyLogits | None]] = {
    "__getitem__": _getitem,
    "view": _view,
    "reshape": _view,
    "flatten": _flatten,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "contiguous": _same,
}
"""What concerns the axes before the last."""

_POINTWISE = frozenset(
    {
        "add",
        "sub",
        "mul",
        "div",
        "true_divide",
        "__rsub__",
        "neg",
        "tanh",
        "clamp",
        "float",
        "double",
        "half",
        "bfloat16",
        "to",
    }
)
"""What is done to each logit by itself."""
