"""Law 1: says what it is."""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from ...adapters import Method
from ...api import plan
from ...errors import InarchError
from ..case import Case
from ..verdict import Broken, require

FORMULA = re.compile(r"\S\s*(?:=|<-)\s*\S|\b[a-z]\w*\([^)]+\)")
"""An equation, or a function of something."""
REFERENCE = re.compile(
    r"arXiv:\d{4}\.\d{4,5}|arXiv:[a-z-]+/\d{7}|\b10\.\d{4,9}/\S+|https?://\S+|\bunpublished\b", re.IGNORECASE
)


def says_what_it_is(case: Case) -> None:
    """Its docstring gives formula and paper, its settings survive JSON and build the same, its report is true.

    The docstring of the method has a formula and a reference: an arXiv number, a DOI, an address, or the word
    "unpublished". A method that builds no adapters of its own, such as full fine-tuning, has no formula to give.

    Every setting is changed in turn, and the method read back from its JSON must be equal. Attached, it must have the
    same tensors at the same sites; and the number of parameters that its plan announces must be those it trains. In a
    larger size, where it has sizes, it trains no fewer; and what is effective of it is no more than it trains.
    """
    _require_documentation(type(case.method))
    for setting, method in _changed(case.method):
        _require_round_trip(method, setting)
    _require_same_adapters(case)
    _require_true_report(case)
    _require_true_sizes(case)


def _require_documentation(method: type[Method]) -> None:
    text = inspect.getdoc(method) or ""
    require(bool(text), f"{method.__name__} has no docstring.")
    if method.build is Method.build and method.build_all is Method.build_all:
        return
    require(bool(FORMULA.search(text)), f"The docstring of {method.__name__} gives no formula, such as h = W x + b.")
    require(
        bool(REFERENCE.search(text)),
        f'The docstring of {method.__name__} names no paper, such as arXiv:2106.09685, and does not say "unpublished".',
    )


def _require_round_trip(method: Method, setting: str) -> None:
    try:
        again = type(method).from_dict(json.loads(json.dumps(method.to_dict())))
    except (TypeError, ValueError, InarchError) as error:
        raise Broken(f"{setting} does not survive JSON: {error}") from error
    mine, theirs = (getattr(each, setting, each) for each in (method, again))
    require(again == method, f"{setting} does not survive JSON: {theirs!r} for {mine!r}.")


def _require_same_adapters(case: Case) -> None:
    again = type(case.method).from_dict(json.loads(json.dumps(case.method.to_dict())))
    one = case.attach(case.base())
    other = dataclasses.replace(case, method=again).attach(case.base())
    mine, theirs = ({key: tuple(t.shape) for key, t in adapter.tensors().items()} for adapter in (one, other))
    require(
        mine == theirs, f"Read back from JSON it builds other tensors: {sorted(mine.items() ^ theirs.items())[:3]}."
    )


def _require_true_report(case: Case) -> None:
    announced = plan(case.base(), case.method).report().trainable
    trained = case.attach(case.base()).num_trainable
    require(announced == trained, f"Its plan announces {announced} trainable parameters, and it trains {trained}.")


def _require_true_sizes(case: Case) -> None:
    """Hold the first sizes against one another; one that does not fit the model says nothing."""
    sized = {size: case.method.sized(size) for size in (1, 2, 3)}
    before = 0
    for size, method in sized.items():
        if method is None:
            require(not any(sized.values()), f"It has some sizes and not others: sized({size}) is None.")
            return
        _require_round_trip(method, f"sized({size})")
        trained = _announced(case, method)
        if trained is None:
            continue
        require(trained >= before, f"In size {size} it trains {trained} parameters, and in a smaller one {before}.")
        effective = _announced(case, method.effective())
        fits = effective is not None and effective <= trained
        require(fits, f"In size {size} it trains {trained} parameters, of which {effective} are said to be effective.")
        before = trained


def _announced(case: Case, method: Method) -> int | None:
    """What the method would train; ``None`` where it does not fit the model."""
    try:
        return plan(case.base(), method).report().trainable
    except InarchError:
        return None


def _changed(method: Method) -> Iterator[tuple[str, Method]]:
    """The method with each of its settings changed to the first other value that it allows, and as it is."""
    hints = typing.get_type_hints(type(method))
    for field in dataclasses.fields(method):
        yield field.name, method
        for value in _others(hints[field.name], getattr(method, field.name)):
            try:
                changed = dataclasses.replace(method, **{field.name: value})
            except (ValueError, TypeError):
                continue
            yield field.name, changed
            break


def _others(hint: Any, value: Any) -> Iterator[Any]:
    """Other values than ``value`` of the type ``hint``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        yield from (choice for choice in arguments if choice != value)
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from _others(argument, value)
    elif origin is tuple:
        yield from ((*(value or ()), item) for item in _others(arguments[0], None))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from ({"*": item} for item in _others(arguments[1], None))
    elif hint is bool:
        yield not value
    elif hint is int:
        yield from ((value or 0) + 1, (value or 4) // 2)
    elif hint is float:
        yield from ((value or 1.0) / 2, (value or 0.0) + 1.0, 0.25)
    elif hint is str:
        yield from ("other", "@linear", "*")
