"""The modules of a base model as a tree, without the adapters attached to it."""

from collections.abc import Iterator
from itertools import takewhile

from torch import nn

from .part import base_modules

LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
"""Modules whose children are called or iterated over one by one, so that a slot would be taken for one of them."""


class ModuleTree:
    """Every module of ``model`` by its dotted name, parents before their children; one met twice is there once.

    Attributes:
        modules: By name; the model itself has the empty name.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(base_modules(model))
        self._names = list(self.modules)
        self._places = {name: place for place, name in enumerate(self._names)}

    def below(self, name: str) -> Iterator[str]:
        """Names of the modules inside the module ``name``, in order."""
        start = f"{name}." if name else ""
        rest = (self._names[place] for place in range(self._places[name] + 1, len(self._names)))
        return takewhile(lambda other: other.startswith(start), rest)

    def children(self, name: str) -> list[str]:
        """Names of the modules right below the module ``name``."""
        start = f"{name}." if name else ""
        return [start + key for key in self.modules[name]._modules if start + key in self.modules]

    def is_list(self, name: str) -> bool:
        """Whether the children of the module ``name`` are called or iterated over one by one."""
        return isinstance(self.modules[name], LISTS)


def input_embedding(model: nn.Module) -> nn.Module | None:
    """The module that a model names as the embedding of its input; ``None`` where it names none."""
    try:
        found = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    return found if isinstance(found, nn.Module) else None


def ancestors(name: str) -> list[str]:
    """The names of the modules around ``name``, the nearest first, the model itself left out."""
    words = name.split(".")
    return [".".join(words[:length]) for length in range(len(words) - 1, 0, -1)]
