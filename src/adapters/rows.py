"""Which adapter answers which row of a batch: what the hooks of the seams ask while ``route`` is on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RouteError
from .output_adapter import OutputAdapter
from .slot import Slot

Function = Callable[[Tensor, Tensor], Tensor]


class Rows:
    """The adapter of each row of the batch that is computed now.

    Args:
        names: The adapter's name for each row; ``None`` for the base.
        where: The names of the adapted modules, for messages.
        mixed: The slots of single experts, which are given tokens of all rows mixed: they can be adapted only
            ``within`` the rows of one adapter.
    """

    def __init__(
        self, names: Sequence[str | None], where: Mapping[Slot, str], mixed: frozenset[Slot] = frozenset()
    ) -> None:
        self._where = where
        self._mixed = mixed
        self._sizes: list[int] = []
        self._batches: dict[tuple[str | None, ...], _Batch] = {}
        self._now = self._batch_of(tuple(names))

    @property
    def names(self) -> tuple[str | None, ...]:
        """The adapter's name for each row."""
        return self._now.names

    @contextmanager
    def within(self, names: Sequence[str | None]) -> Iterator[None]:
        """In the ``with`` block a batch has rows of these adapters only."""
        before, sizes = self._now, self._sizes
        self._now, self._sizes = self._batch_of(tuple(names)), []
        try:
            yield
        finally:
            self._now, self._sizes = before, sizes

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The hook before a model, or a model in it: notes the size of its batch."""
        given = [kwargs.get(getattr(module, "main_input_name", "")), *args, *kwargs.values()]
        batches = (value for value in given if isinstance(value, Tensor) and value.dim() > 1)
        self._sizes.append(next((batch.shape[0] for batch in batches), 0))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The hook after it."""
        if self._sizes:
            self._sizes.pop()

    def output(self, slot: Slot, x: Tensor, y: Tensor) -> Tensor:
        """The output of a module, each row adapted by its own adapter."""
        functions = None if torch.is_grad_enabled() else self.once(slot, "output", self._functions)
        if functions is not None:
            if functions:
                self.repeats(y, slot)
            for function in functions:
                y = function(x, y)
            return y
        for name, index in self._groups(slot, "output", y):
            switch = slot.switches["output"][name]
            adapter: Any = slot._modules[name]
            mine = y.index_select(0, index)
            adapted = adapter.forward(x.index_select(0, index), mine)
            y = y.index_copy(0, index, adapted if switch.weight == 1.0 else torch.lerp(mine, adapted, switch.weight))
        return y

    def input(self, slot: Slot, x: Tensor) -> Tensor:
        """The input of a module, each row adapted by its own adapter."""
        for name, index in self._groups(slot, "input", x):
            switch = slot.switches["input"][name]
            adapter: Any = slot._modules[name]
            mine = x.index_select(0, index)
            adapted = adapter.forward(mine)
            x = x.index_copy(0, index, adapted if switch.weight == 1.0 else torch.lerp(mine, adapted, switch.weight))
        return x

    def present(self, slot: Slot, seam: str) -> list[str]:
        """The adapters at one seam of a slot that answer some row, in the order they were attached."""
        return [name for name in slot.switches.get(seam, ()) if name in self._now.rows]

    def of_all(self, slot: Slot, seam: str) -> list[str]:
        """The same, where rows cannot be told apart.

        Raises:
            RouteError: An adapter answers only some of the rows.
        """
        names = self.present(slot, seam)
        if names and len(set(self.names)) > 1:
            raise self._cannot_tell(slot)
        return names

    def once(self, slot: Slot, seam: str, make: Callable[[Slot], Any]) -> Any:
        """What ``make`` makes of the adapters at one seam of a slot, at the first call; with gradients, at each."""
        if torch.is_grad_enabled():
            return make(slot)
        made, key = self._now.made, (slot, seam)
        if key not in made:
            made[key] = make(slot)
        return made[key]

    def index(self, name: str, batch: Tensor, where: Slot | str) -> Tensor:
        """The places along axis 0 of ``batch`` that belong to rows of the adapter ``name``."""
        repeats = self.repeats(batch, where)
        key = (name, repeats, batch.device)
        indices = self._now.indices
        if key not in indices:
            places = [row * repeats + i for row in self._now.rows.get(name, ()) for i in range(repeats)]
            indices[key] = torch.tensor(places, dtype=torch.long, device=batch.device)
        return indices[key]

    def repeats(self, batch: Tensor, where: Slot | str) -> int:
        """How many places of axis 0 stand for one row.

        Args:
            batch: What has the rows along axis 0.
            where: The module, for the message.

        Raises:
            RouteError: The axis does not hold the rows.
        """
        rows = len(self.names)
        if rows > 1 and where in self._mixed:
            raise self._cannot_tell(where)
        repeats, rest = divmod(batch.shape[0], rows)
        if rest or (not repeats and rows > 1):
            raise RouteError(
                f"{self._name(where)} has a batch of {batch.shape[0]} rows and {rows} adapters were named: name one "
                "adapter (or None) for each row. A model that mixes rows on its way cannot be routed."
            )
        if rows > 1 and self._sizes and batch.dim() > 2 and batch.shape[0] != self._sizes[-1] == batch.shape[1]:
            raise RouteError(
                f"{self._name(where)} is given the rows along axis 1 of {tuple(batch.shape)}: only rows along axis 0 "
                "can be routed. Attach the adapters to other targets to route them."
            )
        return repeats

    def _groups(self, slot: Slot, seam: str, batch: Tensor) -> Iterator[tuple[str, Tensor]]:
        for name in self.present(slot, seam):
            yield name, self.index(name, batch, slot)

    def _functions(self, slot: Slot) -> list[Function] | None:
        """Functions that answer all rows at once, one for each kind of adapter; ``None`` where a kind has none."""
        switches = slot.switches["output"]
        kinds: dict[type[OutputAdapter], dict[str | None, OutputAdapter]] = {}
        for name in self.present(slot, "output"):
            adapter = slot._modules[name]
            assert isinstance(adapter, OutputAdapter)
            kinds.setdefault(type(adapter), {})[name] = adapter
        functions = []
        for kind, adapters in kinds.items():
            weights = [switches[name].weight if name in switches else 0.0 for name in self.names]
            function = kind.for_rows([adapters.get(name) for name in self.names], weights)
            if function is None:
                return None
            functions.append(function)
        return functions

    def _batch_of(self, names: tuple[str | None, ...]) -> "_Batch":
        if names not in self._batches:
            self._batches[names] = _Batch(names)
        return self._batches[names]

    def _name(self, where: Slot | str) -> str:
        return where if isinstance(where, str) else self._where.get(where) or "The model"

    def _cannot_tell(self, where: Slot | str) -> RouteError:
        return RouteError(
            f"{self._name(where)} is given tokens of all rows mixed, and no module around it was called with the rows: "
            "they cannot be told apart there. Attach the adapters to other targets to route them."
        )


class _Batch:
    """The names of the rows of one batch, and what was made for it.

    Attributes:
        names: The adapter's name for each row.
        rows: The rows of each adapter.
        indices: Their places, by name, how often each row is there, and device.
        made: What was made for one seam of a slot.
    """

    def __init__(self, names: tuple[str | None, ...]) -> None:
        self.names = names
        self.rows = {
            name: [row for row, other in enumerate(names) if other == name] for name in dict.fromkeys(names) if name
        }
        self.indices: dict[tuple[str, int, torch.device], Tensor] = {}
        self.made: dict[tuple[Slot, str], Any] = {}
