"""Targets: from roles, names and globs to the parts of a model that a method adapts."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ..errors import TargetError, shortened, suggestion
from .anatomy import Anatomy, Part
from .method import Method


def matching_parts(anatomy: Anatomy, method: Method, ignored: frozenset[str] = frozenset()) -> list[Part]:
    """The parts that ``method.targets`` name and the method accepts, in the model's order.

    A target is a role (``@attention.query``), a module's name or the end of one (``q_proj``), or a glob over whole
    names (``*.layers.1?.*``). Every target must match something.

    Args:
        anatomy: The model's parts.
        method: Whose targets and ``accepts`` count.
        ignored: Names of parts that are trained themselves, and so are not adapted.

    Raises:
        TargetError: A target that matches nothing, or only parts that the method cannot adapt.
    """
    chosen: set[str] = set()
    for target in method.targets:
        matched = [part for part in anatomy.parts.values() if matches(part, target)]
        if not matched:
            raise TargetError(_matches_nothing(anatomy, method, target))
        usable = [part for part in matched if part.name not in ignored and part.suits(method.accepts)]
        if not usable:
            raise TargetError(_not_adaptable(matched, method, target, ignored))
        chosen.update(part.name for part in usable)
    return [part for part in anatomy.parts.values() if part.name in chosen]


def matches(part: Part, target: str) -> bool:
    """Whether ``target`` names ``part``."""
    if target.startswith("@"):
        return target[1:] in part.roles
    return matches_name(part.name, target)


def matches_name(name: str, pattern: str) -> bool:
    """Whether ``pattern`` is ``name``, an ending of it after a dot, or a glob over the whole of it."""
    return name == pattern or name.endswith(f".{pattern}") or fnmatchcase(name, pattern)


def _matches_nothing(anatomy: Anatomy, method: Method, target: str) -> str:
    if target.startswith("@"):
        return f'{method.name}: no part of this model has the role "{target}": {_roles(target, anatomy.roles())}'
    leaves = {name.rsplit(".", 1)[-1] for name, part in anatomy.parts.items() if part.suits(method.accepts)}
    return f'{method.name}: the target "{target}" matches no module of this model: {suggestion(target, leaves)}'


def _roles(target: str, roles: Sequence[str]) -> str:
    return suggestion(target, [f"@{role}" for role in roles])


def _not_adaptable(matched: list[Part], method: Method, target: str, ignored: frozenset[str]) -> str:
    names = shortened(part.name for part in matched)
    if all(part.name in ignored for part in matched):
        return f'{method.name}: the target "{target}" matches only {names}, trained as a whole: leave it out.'
    kinds = ", ".join(sorted({part.kind for part in matched}))
    return (
        f'{method.name}: the target "{target}" matches only {names} ({kinds}), '
        f"and {method.name} adapts {' or '.join(method.accepts)}: target those."
    )
