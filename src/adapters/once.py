"""What is asked of a class of modules again and again, and answered once."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class once_a_class(Generic[Answer]):  # noqa: N801 - a decorator
    """Makes a function of a class keep its answers, as ``functools.cache`` does, whose types know no classes."""

    def __init__(self, function: Callable[[type[Any]], Answer]) -> None:
        self._function = function
        self._answers: dict[type[Any], Answer] = {}
        update_wrapper(self, function)

    def __call__(self, module_type: type[Any]) -> Answer:
        """The answer for ``module_type``."""
        try:
            return self._answers[module_type]
        except KeyError:
            return self._answers.setdefault(module_type, self._function(module_type))
