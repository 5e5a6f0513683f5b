"""Head only: the lower baseline."""

from dataclasses import dataclass
from typing import Any

import inarch
from inarch import Method


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Only the new task head is trained, on the frozen features of the base: the baseline that the others must beat."""

    name = "head"

    targets: tuple[str, ...] = ()


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring head-only training."""
    register(Head)
