"""Roles that plugins declare for models whose names the table does not know, or knows wrongly."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from .role_names import roles_of_name, with_sublayer

_declared: dict[str, dict[str, frozenset[str]]] = {}


def declare_roles(model: str, roles: Mapping[str, Sequence[str]]) -> None:
    """Declare the roles of a model's maps, instead of those in the table of names.

    Args:
        model: The name of the model's class, or the ``model_type`` of its config.
        roles: Roles, as in ``attention.query``, by globs over whole names of modules; none says that it has no role.
    """
    known = _declared.setdefault(model, {})
    known.update({glob: with_sublayer(frozenset(given)) for glob, given in roles.items()})


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
        return next((roles for glob, roles in declared.items() if fnmatchcase(name, glob)), None) or roles_of_name(name)

    return roles_of
