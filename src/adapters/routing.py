"""Routing: one batch, with a different adapter, or none, for every row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import RouteError, UnknownNameError, shortened, suggestion
from .adapter import Adapter
from .anatomy import anatomy
from .attachments import attachments
from .module_tree import LISTS, ancestors, input_embedding
from .overlay import Overlay, Trained
from .part import base_modules
from .role_names import is_in_experts
from .routed_block import RoutedBlock
from .rows import Rows
from .seam import seam_of
from .site import Site
from .slot import slot_of


@contextmanager
def route(model: nn.Module, rows: Sequence[str | None]) -> Iterator[None]:
    """Answer row i of every batch inside the ``with`` block by the adapter ``rows[i]``, or by the base for ``None``.

    Whether an adapter is on or off does not matter here. Axis 0 of what an adapted module is given holds the rows: what
    a model makes of a batch (beams, patches, windows) keeps them in order, each as often as the other. Experts, which
    are given the tokens of all rows mixed, are computed for the rows of each of their adapters apart. Inside the block
    the adapters are not to be trained: where all rows are answered at once, parameters are gathered at the first call.

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
    sites = [site for adapter in everything.values() for site in adapter.sites]
    where = {slot: site.name for site in sites if (slot := slot_of(site.module))}
    mixed = [slot for site in sites if _is_mixed(site) and (slot := slot_of(site.module))]
    routed = Rows(rows, where, frozenset(mixed))
    with ExitStack() as stack:
        if found:
            _route_trained(model, {id(overlay): overlay for overlay in found.overlays.values()}.values(), routed, stack)
        _note_batches(model, routed, stack)
        _route_experts(model, chosen, routed, stack)
        for slot in where:
            slot.rows = routed
            stack.callback(setattr, slot, "rows", None)
        yield


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


def _note_batches(model: nn.Module, rows: Rows, stack: ExitStack) -> None:
    """Tell the rows how big the batch is that the model is called with, and each model of transformers' in it."""
    for _, module in base_modules(model):
        if module is model or hasattr(module, "main_input_name"):
            stack.callback(module.register_forward_pre_hook(rows.enter, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(rows.leave, always_call=True).remove)


def _is_mixed(site: Site) -> bool:
    """Whether the module is given tokens of all rows mixed, as experts are."""
    return "expert" in site.roles or is_in_experts(site.name)


def _route_experts(model: nn.Module, chosen: Mapping[str, Adapter], rows: Rows, stack: ExitStack) -> None:
    """Let the blocks of adapted experts compute the rows of each adapter by themselves."""
    adapters: dict[str, dict[str, None]] = {}
    for name, adapter in chosen.items():
        for site in adapter.sites:
            if _is_mixed(site):
                adapters.setdefault(_block_around(model, site), {})[name] = None
    for where, names in adapters.items():
        module = model.get_submodule(where)
        block, own, before = RoutedBlock(module.forward, where, rows, names), vars(module), vars(module).get("forward")
        own["forward"] = block
        stack.callback(own.pop, "forward") if before is None else stack.callback(own.update, forward=before)


def _block_around(model: nn.Module, site: Site) -> str:
    """The name of the nearest module around all the experts, which is given the rows of a batch.

    Raises:
        RouteError: There is none.
    """
    around = [*ancestors(site.name), ""]
    if site.kind != "experts" and is_in_experts(site.name):
        around = [name for name in around if not is_in_experts(f"{name}.")]
    found = next((name for name in around if not isinstance(model.get_submodule(name), LISTS)), None)
    if found is None:
        raise RouteError(f"No module stands around the experts {site.name} that is given the rows of a batch.")
    return found


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
    names = {module: name for name, module in base_modules(model)} if copies else {}
    for module, by_owner in copies.items():
        hook = _RowsOfCopies(by_owner, rows, names[module])
        handle = module.register_forward_hook(hook, with_kwargs=True, prepend=True)
        stack.callback(handle.remove)


def _require_rows(model: nn.Module, copies: Mapping[nn.Module, Mapping[str, Any]]) -> None:
    """Refuse copies in modules that are not known to be given the batch, row by row.

    Those are linear maps and norms, and the embedding of the tokens; an embedding of positions has no rows, and experts
    are given the tokens of all rows mixed.
    """
    parts = [part for part in anatomy(model).parts.values() if part.kind in ("linear", "norm", "convolution")]
    known = {part.module for part in parts if "expert" not in part.roles and not is_in_experts(part.name)}
    tokens = input_embedding(model)
    for module, by_owner in copies.items():
        if module not in known and module is not tokens:
            raise RouteError(
                f"{shortened(by_owner)} trains parameters of a {type(module).__name__} themselves: what it gives "
                "cannot be told apart by rows. Route adapters that train no more than linear maps and norms themselves."
            )


class _RowsOfCopies:
    """A forward hook that computes the rows of each adapter again, with its trained copies of the parameters."""

    def __init__(self, copies: Mapping[str, Mapping[str, nn.Parameter]], rows: Rows, where: str) -> None:
        self.copies = copies
        self.rows = rows
        self.where = where

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        for owner, copies in self.copies.items():
            if owner not in self.rows.names:
                continue  # in a block of experts, which is given other rows now
            index = self.rows.index(owner, output, self.where)
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
