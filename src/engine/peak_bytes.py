"""How much memory tensors take: at most while something runs, and at rest between two steps."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_DEPTH = 4
"""How deep the attributes of a parameter hold tensors: a quantised one has a state, which may have one too."""


class PeakBytes:
    """What is allocated within a ``with`` block, now and at most; what was there before counts nothing.

    On a GPU it asks torch's allocator (and restarts its peak statistics). Elsewhere it follows the storage of every
    tensor that an operation makes until that is freed, which is deterministic; what an operation takes and gives back
    within itself is not seen.

    Args:
        device: Where to look.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        self._storages = None if device.type == "cuda" else _Storages(device)

    def __enter__(self) -> Self:
        if self._storages is not None:
            self._storages.__enter__()
        else:
            self._before = torch.cuda.memory_allocated(self._device)
            self.restart()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._storages is not None:
            self._storages.__exit__(*error)

    @property
    def live(self) -> int:
        """Bytes that are allocated now."""
        if self._storages is not None:
            return self._storages.live
        return int(torch.cuda.memory_allocated(self._device)) - self._before

    @property
    def peak(self) -> int:
        """The most bytes at once, since the beginning or the last ``restart``."""
        if self._storages is not None:
            return self._storages.peak
        return int(torch.cuda.max_memory_allocated(self._device)) - self._before

    def restart(self) -> None:
        """Forget the peak so far."""
        if self._storages is not None:
            self._storages.peak = self._storages.live
        else:
            torch.cuda.reset_peak_memory_stats(self._device)


class _Storages(TorchDispatchMode):
    """Follows the storages that operations make.

    Attributes:
        live: Their bytes now.
        peak: The most bytes at once.
    """

    supports_higher_order_operators = True

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device.type
        self._known: dict[int, weakref.ref[Any]] = {}
        self.live = 0
        self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for storage in self._new((args, kwargs)):
            self._follow(storage, 0)  # made elsewhere: it is there already
        output = func(*args, **(kwargs or {}))
        for storage in self._new(output):
            self._follow(storage, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return output

    def _new(self, tensors: Any) -> Iterator[torch.UntypedStorage]:
        for leaf in tree_leaves(tensors):
            if isinstance(leaf, Tensor) and leaf.device.type == self._device:
                storage = _storage(leaf)
                if storage is not None and storage._cdata not in self._known:
                    yield storage

    def _follow(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata

        def freed(_: Any) -> None:
            self.live -= size
            self._known.pop(key, None)

        self.live += size
        self._known[key] = weakref.ref(storage, freed)


def _storage(tensor: Tensor) -> torch.UntypedStorage | None:
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # a sparse tensor, or one that wraps others, has none of its own
        return None


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """The bytes of the storages of ``tensors``, each counted once."""
    storages = {storage._cdata: storage.nbytes() for tensor in tensors if (storage := _storage(tensor)) is not None}
    return sum(storages.values())


def resting_bytes(model: nn.Module) -> int:
    """What training ``model`` with AdamW holds between two steps.

    That is the weights as they are stored, quantised ones with their scales; and for each trainable parameter its
    gradient and the two averages of the optimizer, in its dtype.
    """
    trained = storage_bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    return storage_bytes(_stored(model)) + 3 * trained


def _stored(model: nn.Module) -> Iterator[Tensor]:
    yield from model.buffers()
    for parameter in model.parameters():
        yield from _within(parameter, _DEPTH)


def _within(value: Any, depth: int) -> Iterator[Tensor]:
    """The tensors among a value and its attributes, but for gradients."""
    if isinstance(value, Tensor):
        yield value
    if depth == 0:
        return
    if isinstance(value, (list, tuple)):
        inner: Iterable[Any] = value
    elif isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, nn.Module):
        inner = ()
    else:
        inner = getattr(value, "__dict__", {}).values()
    for each in inner:
        yield from _within(each, depth - 1)
