"""Targets: from roles, names and globs to the parts of a model that a method adapts."""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ..errors import TargetError, shortened, suggestion
from .anatomy import Anatomy, Part
from .method import Method


def matching_parts(anatomy: Anatomy, method: Method, ignored: frozenset[str] = frozenset()) -> list[Part]:
    """The parts that ``method.targets`` name and the method accepts, in the model's order.

    A target is a role (``@attention.query``), a module's name or the end of one (``q_proj``), or a glob over whole
    names (``*.layers.1?.*``). Every target that was given must match something. Of a method's default targets those
    that the model lacks are left out, and if it lacks them all, ``method.otherwise`` stands in.

    Args:
        anatomy: The model's parts.
        method: Whose targets and ``accepts`` count.
        ignored: Names of parts that are trained themselves, and so are not adapted.

    Raises:
        TargetError: A target that matches nothing, or only parts that the method cannot adapt.
    """
    if method.targets != _default_targets(method):
        chosen = {name for target in method.targets for name in _named_by(anatomy, method, target, ignored)}
    else:
        chosen = _first_found(anatomy, method, [method.targets, method.otherwise], ignored)
    return [part for part in anatomy.parts.values() if part.name in chosen]


def read_parameters(anatomy: Anatomy, method: Method) -> list[str]:
    """Names of the parameters that the method trains themselves, since the model reads them without calling a module.

    They are those of parts that ``method.targets`` name.
    """
    if not method.trains_read:
        return []
    parts = [part for part in anatomy.parts.values() if any(matches(part, target) for target in method.targets)]
    return [f"{part.name}.{key}" for part in parts for key in _read(part, method)]


def _read(part: Part, method: Method) -> list[str]:
    return [key for key in method.trains_read if part.is_read and part.module._parameters.get(key) is not None]


def _default_targets(method: Method) -> tuple[str, ...]:
    (field,) = (field for field in dataclasses.fields(method) if field.name == "targets")
    return field.default  # type: ignore[return-value]


def _first_found(
    anatomy: Anatomy, method: Method, choices: Sequence[Sequence[str]], ignored: frozenset[str]
) -> set[str]:
    """What the first of several lists of targets finds, where single targets may find nothing."""
    refusals: list[TargetError] = []
    for targets in choices:
        chosen: set[str] = set()
        for target in targets:
            try:
                chosen |= _named_by(anatomy, method, target, ignored)
            except TargetError as error:
                refusals.append(error)
        if chosen or not refusals:
            return chosen
    raise refusals[0]


def _named_by(anatomy: Anatomy, method: Method, target: str, ignored: frozenset[str]) -> set[str]:
    matched = [part for part in anatomy.parts.values() if matches(part, target)]
    if not matched:
        raise TargetError(_matches_nothing(anatomy, method, target))
    usable = {part.name for part in matched if part.name not in ignored and part.suits(method.accepts)}
    if not usable and not any(_read(part, method) for part in matched):
        raise TargetError(_not_adaptable(matched, method, target, ignored))
    return usable


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
    unheard = [part for part in matched if part.unheard]
    if len(unheard) == len(matched):
        return f'{method.name}: the target "{target}" matches only {names}: {unheard[0].unheard}'
    kinds = ", ".join(sorted({part.kind for part in matched}))
    return (
        f'{method.name}: the target "{target}" matches only {names} ({kinds}), '
        f"and {method.name} adapts {' or '.join(method.accepts)}: target those."
    )
