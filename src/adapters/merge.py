"""Merging: an adapter's deltas laid over the base parameters, and taken away again."""

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import ConfigError, MergeError, shortened
from ..quant.formats import has_weight_format, is_packed
from .attachments import Attachments
from .model_adapter import ModelAdapter
from .output_adapter import OutputAdapter
from .overlay import Merged, Overlay, Replaced, Trained
from .site import Site
from .site_adapter import SiteAdapter

if TYPE_CHECKING:
    from .adapter import Adapter


def merge(
    adapter: "Adapter",
    modules: Mapping[str, SiteAdapter],
    attachments: Attachments,
    *,
    keep_base: bool,
    to: torch.dtype | None = None,
) -> None:
    """Lay every delta of ``adapter`` over its base parameter; all of it is checked first.

    Raises:
        MergeError: It cannot be merged; the model is untouched.
        FormatError: A quantised weight cannot take the sum in its own format; the model is untouched.
    """
    if to is not None and not to.is_floating_point:
        raise ConfigError(f"Weights are merged to a floating-point dtype, such as torch.bfloat16, and not to {to}.")
    _refuse_state(adapter, attachments, keep_base=keep_base)
    whole = next((module for module in modules.values() if isinstance(module, ModelAdapter)), None)
    if whole is not None:
        if to is not None:
            raise MergeError(
                f"{adapter.method.name} merges in its own way, and to the formats that are there: leave to= out."
            )
        _merge_whole(adapter, whole, attachments)
        return
    changes = [(site, part, module) for site, module in modules.items() for part in _parts(adapter, site, module)]
    _refuse_order(adapter, attachments)
    layers = {
        (f"{site}.weight" if _is_whole(adapter.model, attachments, site) else f"{site}.{part}"): module
        for site, part, module in changes
    }
    _refuse_tied(adapter, list(layers))
    if to is not None:
        _refuse_moved(adapter.model, {site for site, _, _ in changes})
    try:
        for (name, module), overlay in zip(
            layers.items(), _covering(adapter.model, attachments, list(layers)), strict=True
        ):
            overlay.put(adapter.name, Merged(module, name.rpartition(".")[2], adapter.weight, to))
    except Exception:
        _take(adapter, attachments)
        raise


def merge_errors(adapter: "Adapter", attachments: Attachments) -> dict[str, float]:
    """How far each quantised weight is from the sum, over the size of the delta, by the name of its site."""
    layers = [
        (name.rpartition(".")[0], overlay.layers.get(adapter.name)) for name, overlay in attachments.overlays.items()
    ]
    return {name: layer.error for name, layer in layers if isinstance(layer, Merged) and layer.error is not None}


def _is_whole(model: nn.Module, attachments: Attachments, site: str) -> bool:
    """Whether a site is changed as a whole, weight and bias: a linear map whose weight is no parameter."""
    overlay = attachments.overlays.get(f"{site}.weight")
    return overlay.is_whole if overlay else is_packed(model.get_submodule(site))


def _covering(model: nn.Module, attachments: Attachments, names: list[str]) -> list[Overlay]:
    """The overlays over base parameters and whole linear maps."""
    whole = [name for name in names if _is_whole(model, attachments, name.rpartition(".")[0])]
    for name in whole:
        if name not in attachments.overlays:
            attachments.overlays[name] = Overlay([(model.get_submodule(name.rpartition(".")[0]), "weight")])
    attachments.cover(model, [name for name in names if name not in whole])
    return [attachments.overlays[name] for name in names]


def unmerge(adapter: "Adapter", attachments: Attachments) -> None:
    """Take the deltas of ``adapter`` away.

    Raises:
        MergeError: It is not merged.
    """
    if not adapter.merged:
        raise MergeError(f'The adapter "{adapter.name}" is not merged: there is nothing to unmerge.')
    _take(adapter, attachments)


def _take(adapter: "Adapter", attachments: Attachments) -> None:
    """Take every delta of ``adapter`` away."""
    for overlay in attachments.of(adapter.name):
        if not isinstance(overlay.layers[adapter.name], Trained):
            overlay.take(adapter.name)
    attachments.prune()


def _merge_whole(adapter: "Adapter", whole: ModelAdapter, attachments: Attachments) -> None:
    """Lay what an adapter of a whole model makes of the base parameters over them."""
    merged = whole.merged()
    whole.turn(False)
    try:
        _refuse_tied(adapter, list(merged))
    except MergeError:
        whole.turn(True)
        raise
    for overlay, value in zip(attachments.cover(adapter.model, list(merged)), merged.values(), strict=True):
        overlay.put(adapter.name, Replaced(nn.Parameter(value, requires_grad=False)))


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
        where = site or "the model"
        raise MergeError(f"{method} cannot be merged: its function at {where} is no change of the base weights.")
    base = adapter.model.get_submodule(site)
    for part, change in delta.by_parameter().items():
        if f"{site}.{part}" in adapter.trained:
            raise MergeError(f"{method} cannot be merged at {site}: its {part} is trained itself as well.")
        if not _holds(base, part):
            raise MergeError(f"{method} cannot be merged at {site}: the base module has no {part} to add to.")
        if not torch.isfinite(change).all():
            raise MergeError(f"{method} cannot be merged at {site}: its {part} delta holds NaN or infinite values.")
        yield part


def _holds(base: nn.Module, part: str) -> bool:
    """Whether a module has a parameter, or, if it is a linear map, a weight or a bias in whatever form."""
    if base._parameters.get(part) is not None:
        return True
    return has_weight_format(base) and (
        part == "weight" or (part == "bias" and getattr(base, "bias", None) is not None)
    )


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


def _refuse_moved(model: nn.Module, sites: set[str]) -> None:
    """Refuse to give another form to a module whose ``forward`` another library has exchanged."""
    for site in sites:
        if "_old_forward" in vars(model.get_submodule(site)):
            raise MergeError(
                f"accelerate moves the weight of {site} about, so that no other can stand in its place: load the model "
                "onto one device, or merge without to=."
            )


def _refuse_order(adapter: "Adapter", attachments: Attachments) -> None:
    """Refuse to move ``adapter`` below an earlier adapter of the same module whose change depends on the output."""
    sites = {site.name: site for site in adapter.sites}
    for other in itertools.takewhile(lambda other: other is not adapter, attachments.adapters.values()):
        if other.merged or not other.enabled:
            continue
        for name in other.modules.keys() & sites.keys():
            if not _only_adds(other.modules[name], sites[name]):
                raise MergeError(
                    f'The adapter "{other.name}" ({other.method.name}) was attached before "{adapter.name}" at {name} '
                    f"and changes what it adds there: merge or detach {other.name} first."
                )


def _only_adds(module: SiteAdapter, site: Site) -> bool:
    """Whether what an adapter adds to an output does not depend on that output, so that the order does not matter."""
    if not isinstance(module, OutputAdapter) or site.kind != "linear":
        return False
    generator = torch.Generator().manual_seed(0)  # the model's own random numbers are not to be used up
    x = torch.randn(2, site.in_features, generator=generator).to(site.device, site.dtype)
    y = torch.randn(2, site.out_features, generator=generator).to(site.device, site.dtype)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            added, alone = module.forward(x, y) - y, module.forward(x, torch.zeros_like(y))
    finally:
        module.train(was_training)
    return torch.allclose(added, alone, rtol=1e-3, atol=1e-5)
