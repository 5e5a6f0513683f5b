"""A block of experts, which computes the rows of each adapter by themselves while ``route`` is on.

Inside such a block the tokens of all rows are mixed and sorted by expert, so that no adapter of an expert could tell
its own. The rows that one of them answers are given to the block apart; no token is computed twice.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..errors import RouteError
from .rows import Rows


class RoutedBlock:
    """Stands in for the ``forward`` of a block of experts.

    Args:
        forward: What it stands in for.
        where: The name of the block, for messages.
        rows: The rows that are routed.
        adapters: The names of the adapters of its experts.
    """

    def __init__(self, forward: Callable[..., Any], where: str, rows: Rows, adapters: Collection[str]) -> None:
        self.forward = forward
        self.where = where
        self.rows = rows
        self.adapters = adapters

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the block gives of the whole batch, shape (rows, tokens, features) or flattened to (all tokens, ...)."""
        groups = list(self._groups())
        if len(groups) == 1:
            with self.rows.within(groups[0][0]):
                return self.forward(*args, **kwargs)
        x: Tensor = args[0] if args else next(iter(kwargs.values()))
        self._require_rows(x, [*args, *kwargs.values()])
        repeats, shape = self.rows.repeats(x, self.where), x.shape[:2]
        places = [[row * repeats + i for row in rows for i in range(repeats)] for _, rows in groups]
        outputs = []
        for (names, _), own in zip(groups, places, strict=True):
            index = torch.tensor(own, device=x.device)
            own_args = [_taken(value, index, shape) for value in args]
            own_kwargs = {key: _taken(value, index, shape) for key, value in kwargs.items()}
            with self.rows.within(names):
                outputs.append(self.forward(*own_args, **own_kwargs))
        back = torch.tensor(list(chain(*places)), device=x.device).argsort()
        return self._joined(outputs, [len(own) for own in places], back, shape)

    def _groups(self) -> Iterator[tuple[Sequence[str | None], list[int]]]:
        """Names and rows: of each adapter of the experts, one name for all its rows; of the others, one for each."""
        names = self.rows.names
        for adapter in self.adapters:
            rows = [row for row, name in enumerate(names) if name == adapter]
            if rows:
                yield (adapter,), rows
        rest = [row for row, name in enumerate(names) if name not in self.adapters]
        if rest:
            yield [names[row] for row in rest], rest

    def _require_rows(self, x: Tensor, given: Sequence[Any]) -> None:
        if x.dim() < 3:
            raise self._cannot("it is given tokens without their rows")
        for value in given:
            if not (value is None or isinstance(value, (Tensor, bool, int, float))):
                raise self._cannot(f"it is given a {type(value).__name__}, which may hold something of all rows")

    def _joined(self, outputs: Sequence[Any], sizes: Sequence[int], back: Tensor, shape: torch.Size) -> Any:
        """The outputs of the groups as one, with the rows in their order."""
        first = outputs[0]
        if first is None:
            return None
        if isinstance(first, (tuple, list)):
            items = zip(*outputs, strict=True)
            return type(first)(self._joined(item, sizes, back, shape) for item in items)
        if isinstance(first, Tensor) and first.dim() > 0:
            found = [output.shape[0] for output in outputs]
            if found == list(sizes):
                return torch.cat(list(outputs)).index_select(0, back)
            if found == [size * shape[1] for size in sizes]:
                return torch.cat(list(outputs)).unflatten(0, shape).index_select(0, back).flatten(0, 1)
        raise self._cannot(f"it gives a {type(first).__name__} that is not one of rows or tokens")

    def _cannot(self, why: str) -> RouteError:
        return RouteError(
            f"The experts in {self.where} cannot be routed: {why}. Attach the adapters to other targets to route them."
        )


def _taken(value: Any, index: Tensor, shape: torch.Size) -> Any:
    """The rows ``index`` of an argument that has a value for each row, or for each token; another one as it is."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    if value.shape[0] == shape[0]:
        return value.index_select(0, index)
    if value.shape[0] == shape.numel():
        return value.unflatten(0, shape).index_select(0, index).flatten(0, 1)
    return value
