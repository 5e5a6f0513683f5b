"""Whatever of a model an adapter might leave a trace in, and what differs between two such records."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


@dataclass(frozen=True)
class Traces:
    """A record of a model.

    Attributes:
        values: Every parameter and buffer, copied.
        facts: Everything else that can be compared, by a name for messages.
    """

    values: dict[str, Tensor]
    facts: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module) -> "Traces":
        """The record of ``model`` as it is now."""
        return cls({name: value.detach().clone() for name, value in model.state_dict().items()}, dict(_facts(model)))

    def changed_since(self, before: "Traces") -> list[str]:
        """What differs between the two records, in words."""
        differing = [name for name in _either(self.facts, before.facts) if not _equal(name, self.facts, before.facts)]
        return differing + [f"the value of {name}" for name in self.values_changed_since(before)]

    def values_changed_since(self, before: "Traces") -> list[str]:
        """Names of the tensors that differ, or that only one of the records has."""
        mine, theirs = self.values, before.values
        return [name for name in _either(mine, theirs) if not _same_tensor(mine.get(name), theirs.get(name))]


def _facts(model: nn.Module) -> Iterator[tuple[str, Any]]:
    yield "the keys of the state dict", list(model.state_dict())
    config = getattr(model, "config", None)
    if config is not None:
        yield "the configuration", {key: repr(value) for key, value in sorted(vars(config).items())}
    for name, module in model.named_modules():
        where = name or type(module).__name__
        yield f"the type of {where}", type(module)
        yield f"the training mode of {where}", module.training
        yield f"the attributes of {where}", {key: _identity(value) for key, value in vars(module).items()}
        yield f"the hooks of {where}", [list(map(id, getattr(module, kind).values())) for kind in HOOKS]
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield f"the parameter object {name}", id(parameter)
        yield f"requires_grad of {name}", parameter.requires_grad
        yield f"the gradient of {name}", parameter.grad is None
        yield f"the hooks of {name}", len(parameter._backward_hooks or ())


def _identity(value: Any) -> Any:
    """What an attribute is: plain values by what they are, others by which they are."""
    return value if isinstance(value, bool | int | float | str | type(None)) else id(value)


def _either(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*other, *one]))


def _equal(name: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    return name in one and name in other and bool(one[name] == other[name])


def _same_tensor(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.dtype == other.dtype and torch.equal(one, other)
