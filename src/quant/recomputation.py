"""Whether a forward pass is a recomputation, for the backward pass of what was checkpointed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class _State:
    depth: int = 0
    count: int = 0


_STATE = _State()


@contextmanager
def recomputing() -> Iterator[None]:
    """Inside, a forward pass is a recomputation; what checkpoints says so, by its ``context_fn``."""
    _STATE.count += not _STATE.depth
    _STATE.depth += 1
    try:
        yield
    finally:
        _STATE.depth -= 1


def recomputation() -> int | None:
    """The number of the recomputation that runs, whose backward pass comes next; ``None`` outside of one."""
    return _STATE.count if _STATE.depth else None
