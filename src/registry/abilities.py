"""What a method can do besides training, as far as its class tells."""

import typing
from collections.abc import Mapping
from typing import Any

from ..adapters import Method, SiteAdapter


def abilities(method: type[Method]) -> Mapping[str, Any]:
    """What ``inarch.methods()`` says that a method supports.

    A method that knows more than its class tells has a class method ``supports`` that says it. Else:

        modules     the kinds or roles of modules it can be built on
        merge       whether it can be merged into the base weights; left out where the class does not tell
    """
    told = getattr(method, "supports", None)
    if told is not None:
        return dict(told())
    merge = _merges(method)
    return {"modules": list(method.accepts)} | ({} if merge is None else {"merge": merge})


def _merges(method: type[Method]) -> bool | None:
    """Whether what ``build`` says it returns has a delta; a method that builds nothing has nothing in the way."""
    if method.build is Method.build and method.build_all is Method.build_all:
        return True
    built = typing.get_type_hints(method.build).get("return")
    if not isinstance(built, type) or not issubclass(built, SiteAdapter) or built is SiteAdapter:
        return None
    return built.delta is not SiteAdapter.delta
