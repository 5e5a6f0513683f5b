"""The form of a module: what it is, but for where it stands in its model."""

from dataclasses import dataclass
from typing import Any, Self

from torch import nn

_OF_ITS_PLACE = frozenset(
    {
        "training",
        "forward",  # of a module that computes together with its adapters
        "_modules",
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_is_full_backward_hook",
    }
)
"""What belongs to a module whatever it computes: its mode, its children (adapters among them), and its hooks."""


@dataclass(frozen=True)
class Form:
    """The class of a module and all that it holds, but for its mode, its children and its hooks.

    PyTorch changes the class of a module in the same way, in ``torch.nn.utils.parametrize``: whoever holds the module
    goes on holding it.
    """

    kind: type[nn.Module]
    state: dict[str, Any]

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """What ``module`` is now."""
        state = {key: value for key, value in vars(module).items() if key not in _OF_ITS_PLACE}
        return cls(type(module), state | {key: dict(state[key]) for key in ("_parameters", "_buffers")})

    def give(self, module: nn.Module) -> None:
        """Make it what ``module`` is from now on."""
        state = vars(module)
        for key in state.keys() - _OF_ITS_PLACE:
            del state[key]
        state.update(self.state)
        module.__class__ = self.kind
