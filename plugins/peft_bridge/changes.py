"""What an injection changed in the structure of a model, so that it can be undone and redone to the bit.

peft can take its layers out again, though not each method can, and not without a trace (attributes, hooks, entries of
the model's configuration). Here nothing is asked of peft: the model is looked at before and after.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn


class Absent(enum.Enum):
    """Stands for an entry that is not there; an enumeration, since its member stays itself in a copy of the model."""

    ABSENT = "absent"


@dataclass(eq=False)
class Change:
    """One entry that changed.

    Attributes:
        holder: The object it belongs to: a module, or the model's configuration.
        table: The attribute of the holder that holds a dictionary with the entry; empty for an attribute itself.
        key: Its key, or the attribute's name.
        before: What was there.
        after: What is there since.
    """

    holder: Any
    table: str
    key: Any
    before: Any
    after: Any

    def show(self, after: bool) -> None:
        """Put the value of after, or of before, into its place."""
        entries = vars(self.holder)[self.table] if self.table else vars(self.holder)
        value = self.after if after else self.before
        if value is Absent.ABSENT:
            entries.pop(self.key, None)
        else:
            entries[self.key] = value


class Structure:
    """The structure of a model at one moment: the attributes of its modules, and the entries of their dictionaries.

    Values are compared by identity. Tensors' values are none of its business.
    """

    def __init__(self, model: nn.Module) -> None:
        self._holders = [*model.modules(), *_configurations(model)]
        self._seen = [_entries(holder) for holder in self._holders]

    def changes(self) -> list[Change]:
        """What has changed since."""
        return [
            change
            for holder, then in zip(self._holders, self._seen, strict=True)
            for change in _differences(holder, then)
        ]


def show(changes: Iterable[Change], after: bool) -> None:
    """Put all values of after, or of before, into their places."""
    for change in changes:
        change.show(after)


def _configurations(model: nn.Module) -> Iterator[Any]:
    """The configurations that a transformers model carries; peft writes to them now and then."""
    for name in ("config", "generation_config"):
        found = vars(model).get(name)
        if hasattr(found, "__dict__"):
            yield found


def _entries(holder: Any) -> dict[str, dict[Any, Any]]:
    """The attributes of an object under the empty name, and the content of each that is a dictionary."""
    attributes = {key: value for key, value in vars(holder).items() if key != "training"}
    return {"": attributes} | {key: dict(value) for key, value in attributes.items() if isinstance(value, dict)}


def _differences(holder: Any, then: dict[str, dict[Any, Any]]) -> Iterator[Change]:
    now = _entries(holder)
    for table, before in then.items():
        after = now.get(table, {})
        if table and vars(holder).get(table) is not then[""][table]:
            continue  # the dictionary itself was replaced, which its attribute tells
        for key in [*before, *(key for key in after if key not in before)]:
            old, new = before.get(key, Absent.ABSENT), after.get(key, Absent.ABSENT)
            if old is not new:
                yield Change(holder, table, key, old, new)
