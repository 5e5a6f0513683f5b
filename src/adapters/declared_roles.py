"""Roles that plugins declare for models whose names the table does not know, or knows wrongly."""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from ..errors import InvalidPluginError
from .role_names import roles_of_name, with_sublayer

_declared: dict[str, dict[str, frozenset[str]]] = {}


def declare_roles(model: str, roles: Mapping[str, Sequence[str]]) -> None:
    """Declare the roles of a model's maps, instead of those in the table of names.

    Args:
        model: The name of the model's class, or the ``model_type`` of its config.
        roles: Roles, such as ``attention.query``, by globs over whole names of modules; the first glob that matches
            decides, and no roles say that there is none.

    Raises:
        InvalidPluginError: Something else than names, globs and roles.
    """
    _require_roles(model, roles)
    known = _declared.setdefault(model, {})
    known.update({glob: with_sublayer(frozenset(given)) for glob, given in roles.items()})


def _require_roles(model: Any, roles: Any) -> None:
    if not isinstance(model, str) or not isinstance(roles, Mapping):
        raise InvalidPluginError(
            f"register({model!r}, {roles!r}): the first is a model's class or type, the second its roles by globs."
        )
    for glob, given in roles.items():
        words = [] if isinstance(given, str) else list(given)
        if isinstance(given, str) or not all(
            isinstance(word, str) and re.fullmatch(r"[a-z_.]+", word) for word in words
        ):
            raise InvalidPluginError(
                f'register("{model}", ...): the roles of "{glob}" are {given!r}: give a list of words such as '
                '"attention.query", without @.'
            )


def withdraw_roles(model: str, globs: Sequence[str]) -> None:
    """Undo ``declare_roles``."""
    for glob in globs:
        _declared.get(model, {}).pop(glob, None)


def roles_by_name(model: nn.Module) -> Callable[[str], frozenset[str]]:
    """What gives the maps of ``model`` their roles by their names: what plugins declared, then the table."""
    config = getattr(model, "config", None)
    declared = {}
    for known in (getattr(config, "model_type", ""), type(model).__name__):
        declared.update(_declared.get(known, {}) if isinstance(known, str) else {})
    if not declared:
        return roles_of_name

    def roles_of(name: str) -> frozenset[str]:
        for glob, roles in declared.items():
            if fnmatchcase(name, glob):
                return roles
        return roles_of_name(name)

    return roles_of
