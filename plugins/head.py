"""Head only: the lower baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import inarch
from inarch import Method


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Only the new task head is trained, on the frozen features of the base: the baseline that the others must beat."""

    name = "head"
    # a linear head on frozen features is a convex problem, which takes larger steps than a network does
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-3, 3e-3, 1e-2, 3e-2)}

    targets: tuple[str, ...] = ()


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring head-only training."""
    register(Head)
