"""A law: one promise that every method keeps."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from ..case import Case


@dataclass(frozen=True)
class Law:
    """One law.

    Attributes:
        number: Its number.
        hold: Holds it on a case: returns where it holds, and raises a ``Verdict`` where it does not.
    """

    number: int
    hold: Callable[[Case], None]

    @property
    def name(self) -> str:
        """Its name, such as ``survives-a-file``."""
        return self.hold.__name__.replace("_", "-")

    @property
    def promise(self) -> str:
        """What it says, in one sentence."""
        return (inspect.getdoc(self.hold) or "").split("\n", 1)[0]
