"""Merging: an adapter's deltas laid over the base parameters, and taken away again."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import MergeError, shortened
from .attachments import Attachments
from .model_adapter import ModelAdapter
from .overlay import Merged
from .site_adapter import SiteAdapter

if TYPE_CHECKING:
    from .adapter import Adapter


def merge(adapter: "Adapter", modules: Mapping[str, SiteAdapter], attachments: Attachments, *, keep_base: bool) -> None:
    """Lay every delta of ``adapter`` over its base parameter; all of it is checked first.

    Raises:
        MergeError: It cannot be merged; the model is untouched.
    """
    _refuse_state(adapter, attachments, keep_base=keep_base)
    themselves = [module for module in modules.values() if isinstance(module, ModelAdapter)]
    if themselves:
        themselves[0].merge()
        return
    changes = [(site, part, module) for site, module in modules.items() for part in _parts(adapter, site, module)]
    names = [f"{site}.{part}" for site, part, _ in changes]
    _refuse_tied(adapter, names)
    for overlay, (_, part, module) in zip(attachments.cover(adapter.model, names), changes, strict=True):
        overlay.put(adapter.name, Merged(module, part, adapter.weight))


def unmerge(adapter: "Adapter", attachments: Attachments) -> None:
    """Take the deltas of ``adapter`` away.

    Raises:
        MergeError: It is not merged.
    """
    if not adapter.merged:
        raise MergeError(f'The adapter "{adapter.name}" is not merged: there is nothing to unmerge.')
    for module in adapter.modules.values():
        if isinstance(module, ModelAdapter):
            module.unmerge()
    for overlay in attachments.of(adapter.name):
        if isinstance(overlay.layers[adapter.name], Merged):
            overlay.take(adapter.name)
    attachments.prune()


def _refuse_state(adapter: "Adapter", attachments: Attachments, *, keep_base: bool) -> None:
    others = [name for name in attachments.adapters if name != adapter.name]
    if adapter.merged:
        raise MergeError(f'The adapter "{adapter.name}" is merged already: unmerge it first.')
    if not adapter.enabled:
        raise MergeError(f'The adapter "{adapter.name}" is disabled: enable it before merging.')
    if others and not keep_base:
        raise MergeError(f"The base weights are needed by {shortened(others)}: detach them, or keep the base.")


def _parts(adapter: "Adapter", site: str, module: SiteAdapter) -> Iterator[str]:
    """Which parameters of the site's base module the delta changes."""
    delta = module.delta()
    method = adapter.method.name
    if delta is None:
        raise MergeError(f"{method} cannot be merged: its function at {site} is no change of the base weights.")
    base = adapter.model.get_submodule(site)._parameters
    for part, change in delta.by_parameter().items():
        if f"{site}.{part}" in adapter.trained:
            raise MergeError(f"{method} cannot be merged at {site}: its {part} is trained itself as well.")
        if base.get(part) is None:
            raise MergeError(f"{method} cannot be merged at {site}: the base module has no {part} to add to.")
        if not torch.isfinite(change).all():
            raise MergeError(f"{method} cannot be merged at {site}: its {part} delta holds NaN or infinite values.")
        yield part


def _refuse_tied(adapter: "Adapter", names: list[str]) -> None:
    holders: dict[nn.Parameter, list[str]] = {}
    for name, parameter in adapter.model.named_parameters(remove_duplicate=False):
        holders.setdefault(parameter, []).append(name)
    wanted = set(names)
    for same in holders.values():
        if len(same) > 1 and wanted & {*same}:
            raise MergeError(
                f"{' and '.join(same)} are one tied weight: merging would change both, and the adapter changes only "
                "one. Leave the adapter unmerged, or untie the weight before attaching."
            )
