"""Full fine-tuning: the upper baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import inarch
from inarch import Method


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """Every parameter of the base model is trained: the baseline that the others are measured against.

    A trainable copy of each parameter is shown in its place and the base is kept aside, so that ``detach`` gives it
    back: that costs the base's size in memory once more.

    Attributes:
        parameters: Globs over the names of the parameters to train.
    """

    name = "full"
    # BERT (arXiv:1810.04805, section A.3) is tuned over 2e-5 to 5e-5, RoBERTa (arXiv:1907.11692) over 1e-5 to 3e-5
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-5, 3e-5, 1e-4, 3e-4)}

    targets: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ("*",)

    def trained_parameters(self) -> tuple[str, ...]:
        """Those of the setting."""
        return self.parameters


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring full fine-tuning."""
    register(Full)
