"""The tree of a model with what each part is, its repeated blocks shown once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from rich.markup import escape
from rich.tree import Tree
from torch import nn

from ..adapters import Anatomy, Part
from ..adapters.module_tree import ModuleTree


@dataclass(frozen=True)
class Branch:
    """One module, or several alike side by side.

    Attributes:
        name: Its name in the module around it: ``q_proj``, ``layers.0-31``, ``encoder.layer.0-11``.
        module_class: The name of its class.
        count: How many such modules it stands for.
        part: What it is, if it is a part; of several, the first.
        branches: What it holds.
    """

    name: str
    module_class: str
    part: Part | None
    branches: tuple["Branch", ...]
    count: int = 1

    @property
    def signature(self) -> tuple[Any, ...]:
        """What modules that are alike have in common."""
        part = self.part
        facts = (part.kind, part.roles, part.features, part.attention, part.unheard) if part else ()
        below = tuple((branch.name, branch.signature) for branch in self.branches)
        return (self.module_class, facts, self.count, below)

    def to_dict(self) -> dict[str, Any]:
        """The branch as JSON types."""
        facts: dict[str, Any] = {"name": self.name, "class": self.module_class, "count": self.count}
        if self.part:
            in_features, out_features = self.part.features
            facts |= {"kind": self.part.kind, "roles": sorted(self.part.roles), "unheard": self.part.unheard}
            facts |= {"in_features": in_features, "out_features": out_features}
        return facts | {"branches": [branch.to_dict() for branch in self.branches]}

    def to_tree(self, onto: Tree | None = None) -> Tree:
        """The branch as rich's tree."""
        label = self._label()
        tree = Tree(label, guide_style="dim") if onto is None else onto.add(label)
        for branch in self.branches:
            branch.to_tree(tree)
        return tree

    def _label(self) -> str:
        times = f" x {self.count}" if self.count > 1 else ""
        words = [f"[bold]{escape(self.name)}[/]{times}" if self.name else "", f"[dim]{self.module_class}[/]"]
        if self.part:
            words += list(_described(self.part))
        return "  ".join(word for word in words if word)


def model_tree(model: nn.Module, found: Anatomy) -> Branch:
    """The tree of ``model``: its parts, and the modules that lead to them."""
    tree = ModuleTree(model)
    leading = {name[:place] for name in found.parts for place in _ends(name)}
    return _branch(tree, found, leading, "")


def _branch(tree: ModuleTree, found: Anatomy, leading: set[str], name: str) -> Branch:
    branches = tuple(_branch(tree, found, leading, child) for child in tree.children(name) if child in leading)
    branch = Branch(
        name.rpartition(".")[2], type(tree.modules[name]).__name__, found.parts.get(name), tuple(_merged(branches))
    )
    only = branch.branches[0] if len(branch.branches) == 1 else None
    if name and branch.part is None and only is not None:
        return replace(only, name=f"{branch.name}.{only.name}")  # it only leads on
    return branch


def _merged(branches: tuple[Branch, ...]) -> Iterator[Branch]:
    """The branches, neighbours in a list that are alike as one."""
    for _, group in groupby(branches, lambda branch: (branch.name.isdigit(), branch.signature)):
        alike = list(group)
        if len(alike) > 1 and alike[0].name.isdigit():
            yield replace(alike[0], name=f"{alike[0].name}-{alike[-1].name}", count=len(alike))
        else:
            yield from alike


def _ends(name: str) -> Iterator[int]:
    """Where the name of each module around ``name`` ends, and its own."""
    yield from (place for place, letter in enumerate(name) if letter == ".")
    yield len(name)


def _described(part: Part) -> Iterator[str]:
    in_features, out_features = part.features
    if part.experts:
        yield f"{part.experts.count} experts"
    if part.kind in ("linear", "convolution", "experts"):
        yield f"{in_features:,} → {out_features:,}"
    elif part.attention:
        yield f"keys {part.attention.key_features:,}, values {part.attention.value_features:,}"
    elif part.kind in ("norm", "embedding", "block"):
        yield f"{out_features:,}"
    named = sorted(role for role in part.roles - {part.kind, "bias"} if not role.startswith("sublayer."))
    sublayer = sorted(role for role in part.roles if role.startswith("sublayer."))
    yield " ".join(f"[cyan]@{role}[/]" for role in named or sublayer or [part.kind])
    if part.unheard:
        yield "[red]unheard[/]"
