"""Routing: one batch, with a different adapter, or none, for every row."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RouteError, UnknownNameError, shortened, suggestion
from .adapter import Adapter
from .anatomy import anatomy
from .attachments import attachments
from .output_adapter import OutputAdapter
from .overlay import Overlay, Trained
from .seam import seam_of
from .slot import Slot, slot_of


@contextmanager
def route(model: nn.Module, rows: Sequence[str | None]) -> Iterator[None]:
    """Answer row i of every batch inside the ``with`` block by the adapter ``rows[i]``, or by the base for ``None``.

    Whether an adapter is on or off does not matter here. What a model makes of a batch (beams, patches, windows) keeps
    the rows in order, each as often as the other, or the call is refused. Inside the block the adapters are not to be
    trained: where a method answers all rows at once, its parameters are gathered at the first call.

    Args:
        model: The model that the adapters are attached to.
        rows: The name of an adapter, or ``None``, for each row of the batch.

    Raises:
        UnknownNameError: No adapter of that name.
        RouteError: An adapter that cannot answer single rows, or a batch whose rows cannot be told apart.
    """
    found = attachments(model)
    everything = dict(found.adapters) if found else {}
    chosen = {name: _named(everything, name) for name in dict.fromkeys(rows) if name is not None}
    for adapter in chosen.values():
        _require_routable(adapter)
    for adapter in everything.values():
        if adapter.merged:
            raise RouteError(f'The adapter "{adapter.name}" is merged into every row: unmerge it before routing.')
    routed = Rows(rows)
    slots = {slot for adapter in everything.values() for site in adapter.sites if (slot := slot_of(site.module))}
    with ExitStack() as stack:
        if found:
            _route_trained(model, {id(overlay): overlay for overlay in found.overlays.values()}.values(), routed, stack)
        for slot in slots:
            slot.rows = routed
            stack.callback(setattr, slot, "rows", None)
        yield


class Rows:
    """Which adapter answers which row, for the hooks of the seams.

    Args:
        names: The adapter's name for each row; ``None`` for the base.
    """

    def __init__(self, names: Sequence[str | None]) -> None:
        self.names = list(names)
        self._rows = {
            name: [row for row, other in enumerate(names) if other == name] for name in dict.fromkeys(names) if name
        }
        self._indices: dict[tuple[str, int, torch.device], Tensor] = {}
        self._at_once: dict[Slot, list[Callable[[Tensor, Tensor], Tensor]] | None] = {}

    def output(self, slot: Slot, x: Tensor, y: Tensor) -> Tensor:
        """The output of a module, each row adapted by its own adapter."""
        if not torch.is_grad_enabled():
            functions = self._functions(slot)
            if functions is not None:
                self._repeats(y)
                for function in functions:
                    y = function(x, y)
                return y
        for name, index in self.groups(slot, "output", y):
            switch = slot.switches["output"][name]
            adapter: Any = slot._modules[name]
            mine = y.index_select(0, index)
            adapted = adapter.forward(x.index_select(0, index), mine)
            y = y.index_copy(0, index, adapted if switch.weight == 1.0 else torch.lerp(mine, adapted, switch.weight))
        return y

    def input(self, slot: Slot, x: Tensor) -> Tensor:
        """The input of a module, each row adapted by its own adapter."""
        for name, index in self.groups(slot, "input", x):
            switch = slot.switches["input"][name]
            adapter: Any = slot._modules[name]
            mine = x.index_select(0, index)
            adapted = adapter.forward(mine)
            x = x.index_copy(0, index, adapted if switch.weight == 1.0 else torch.lerp(mine, adapted, switch.weight))
        return x

    def groups(self, slot: Slot, seam: str, batch: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The adapters at one seam of a slot that answer some row, with the indices of their rows in ``batch``."""
        for name in slot.switches.get(seam, ()):
            if name in self._rows:
                yield name, self.index(name, batch)

    def index(self, name: str, batch: Tensor) -> Tensor:
        """The places along axis 0 of ``batch`` that belong to rows of the adapter ``name``."""
        repeats = self._repeats(batch)
        key = (name, repeats, batch.device)
        if key not in self._indices:
            places = [row * repeats + i for row in self._rows[name] for i in range(repeats)]
            self._indices[key] = torch.tensor(places, device=batch.device)
        return self._indices[key]

    def _repeats(self, batch: Tensor) -> int:
        """How many places of axis 0 stand for one row.

        Raises:
            RouteError: The axis does not hold the rows.
        """
        repeats, rest = divmod(batch.shape[0], len(self.names))
        if rest or not repeats:
            raise RouteError(
                f"The batch has {batch.shape[0]} rows here and {len(self.names)} adapters were named: name one adapter "
                "(or None) for each row. A model that mixes rows on its way cannot be routed."
            )
        return repeats

    def _functions(self, slot: Slot) -> list[Callable[[Tensor, Tensor], Tensor]] | None:
        """Functions that answer all rows at once, one for each kind of adapter; ``None`` where a kind has none."""
        if slot not in self._at_once:
            self._at_once[slot] = self._gathered(slot)
        return self._at_once[slot]

    def _gathered(self, slot: Slot) -> list[Callable[[Tensor, Tensor], Tensor]] | None:
        switches = slot.switches["output"]
        kinds: dict[type[OutputAdapter], dict[str, OutputAdapter]] = {}
        for name in switches:
            adapter = slot._modules[name]
            if name in self._rows and isinstance(adapter, OutputAdapter):
                kinds.setdefault(type(adapter), {})[name] = adapter
        functions = []
        for kind, adapters in kinds.items():
            weights = {name: switches[name].weight for name in adapters}
            rows = [adapters.get(name) if name else None for name in self.names]
            function = kind.for_rows(rows, [weights.get(name, 0.0) if name else 0.0 for name in self.names])
            if function is None:
                return None
            functions.append(function)
        return functions


def _named(everything: Mapping[str, Adapter], name: str) -> Adapter:
    if name not in everything:
        raise UnknownNameError(f'The model has no adapter "{name}": {suggestion(name, everything)}')
    return everything[name]


def _require_routable(adapter: Adapter) -> None:
    for site in adapter.sites:
        module = adapter.modules.get(site.name)
        if module is not None and not seam_of(module).routes:
            raise RouteError(
                f'The adapter "{adapter.name}" ({adapter.method.name}) cannot answer single rows of a batch.'
            )
    mixed = [site.name for site in adapter.sites if site.kind == "linear" and "expert" in site.roles]
    if mixed:
        raise RouteError(
            f'The adapter "{adapter.name}" adapts single experts ({shortened(mixed, 2)}), which are given tokens of '
            "all rows mixed: rows cannot be told apart there. Attach it to other targets to route it."
        )


def _route_trained(model: nn.Module, overlays: Iterable[Overlay], rows: Rows, stack: ExitStack) -> None:
    """Show the base in the place of trained copies, and compute the rows of each adapter with its own copies."""
    copies: dict[nn.Module, dict[str, dict[str, nn.Parameter]]] = {}
    for overlay in overlays:
        for owner, layer in overlay.layers.items():
            if isinstance(layer, Trained):
                stack.callback(overlay.show, owner, layer.shown)
                overlay.show(owner, False)
                for module, key in overlay.places if owner in rows.names else ():
                    copies.setdefault(module, {}).setdefault(owner, {})[key] = overlay.trained(owner)
    if copies:
        _require_rows(model, copies)
    for module, by_owner in copies.items():
        handle = module.register_forward_hook(_RowsOfCopies(by_owner, rows), with_kwargs=True, prepend=True)
        stack.callback(handle.remove)


def _require_rows(model: nn.Module, copies: Mapping[nn.Module, Mapping[str, Any]]) -> None:
    """Refuse copies in modules that are not known to be given the batch, row by row.

    Those are linear maps and norms, and the embedding of the tokens; an embedding of positions has no rows.
    """
    found = anatomy(model)
    known = {part.module for part in found.parts.values() if part.kind in ("linear", "norm", "convolution")}
    embedding_of: Any = getattr(model, "get_input_embeddings", None)
    tokens = embedding_of() if embedding_of else None
    for module, by_owner in copies.items():
        if module not in known and module is not tokens:
            raise RouteError(
                f"{shortened(by_owner)} trains parameters of a {type(module).__name__} themselves: what it gives "
                "cannot be told apart by rows. Route adapters that train no more than linear maps and norms themselves."
            )


class _RowsOfCopies:
    """A forward hook that computes the rows of each adapter again, with its trained copies of the parameters."""

    def __init__(self, copies: Mapping[str, Mapping[str, nn.Parameter]], rows: Rows) -> None:
        self.copies = copies
        self.rows = rows

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        for owner, copies in self.copies.items():
            index = self.rows.index(owner, output)
            own_args = [_rows_of(value, index, output) for value in args]
            own_kwargs = {key: _rows_of(value, index, output) for key, value in kwargs.items()}
            base = {key: module._parameters[key] for key in copies}
            module._parameters.update(copies)
            try:
                own = module.forward(*own_args, **own_kwargs)
            finally:
                module._parameters.update(base)
            output = output.index_copy(0, index, own)
        return output


def _rows_of(value: Any, index: Tensor, batch: Tensor) -> Any:
    """The rows ``index`` of an argument that holds the whole batch; another argument as it is."""
    whole = isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch.shape[0]
    return value.index_select(0, index) if whole else value
