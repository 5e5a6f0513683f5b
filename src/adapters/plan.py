"""The plan: everything an attachment will do, computed and checked before the model is touched."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ..errors import FormatError, InvalidPluginError, PlanError, TargetError, shortened, suggestion
from ..quant import is_floating, is_packed, weight_format
from .anatomy import Anatomy, anatomy
from .coverage import coverage
from .method import Method
from .part import Part, base_parameters
from .peft_format import tensor_name
from .report import Report
from .seam import seam_of
from .site import Site
from .site_adapter import SiteAdapter
from .targets import matching_parts, read_parameters


@dataclass(frozen=True)
class Plan:
    """What attaching ``method`` to ``model`` will do.

    Attributes:
        model: The base model.
        method: The method with its settings.
        sites: Where its adapters go, in the model's order.
        trained: Names of the base parameters that are trained themselves: the new head, and what the method asks for.
        head: Those of them that belong to the new task head.
    """

    model: nn.Module
    method: Method
    sites: tuple[Site, ...]
    trained: tuple[str, ...]
    head: tuple[str, ...]
    anatomy: Anatomy

    def build(self) -> dict[str, SiteAdapter]:
        """The adapters by site name, not yet part of the model.

        Raises:
            ConfigError: The method's settings do not fit a site.
            InvalidPluginError: The method built something that is no adapter.
            PlanError: A site leaves no way in for what the method built.
        """
        by_name = {site.name: site for site in self.sites}
        adapters = self.method.build_all(self.sites)
        for name, adapter in adapters.items():
            _require_adapter(self.method, name, adapter, by_name)
            seam_of(adapter).require(by_name[name])
            _place(adapter, by_name[name])
        return adapters

    def only(self, adapters: Collection[str]) -> "Plan":
        """This plan without the sites for which the method built nothing.

        Raises:
            PlanError: Nothing is left to train.
        """
        if len(adapters) == len(self.sites):
            return self
        left = replace(self, sites=tuple(site for site in self.sites if site.name in adapters))
        _check(left)
        return left

    def tensors_of(self, adapters: Mapping[str, SiteAdapter]) -> dict[str, Tensor]:
        """The tensors of built adapters under their names in a checkpoint; memory is shared."""
        named = self.method.peft.file_name if self.method.peft else tensor_name
        states = ((site, adapter.state_dict()) for site, adapter in adapters.items())
        return {named(site, key): tensor for site, state in states for key, tensor in state.items()}

    def report(self) -> Report:
        """The plan in numbers; the adapters are built without memory to count their parameters."""
        with torch.device("meta"):
            meta = replace(self, sites=tuple(replace(site, device=torch.device("meta")) for site in self.sites))
            built = meta.build()
            return self.only(built).report_of(built)

    def report_of(self, adapters: Mapping[str, SiteAdapter]) -> Report:
        """The report on adapters that were built."""
        sizes = {name: parameter.numel() for name, parameter in _unique_parameters(self.model).items()}
        covered = coverage(self.model, self.anatomy, {site.name for site in self.sites}, set(self.trained))
        added = sum(p.numel() for adapter in adapters.values() for p in adapter.parameters() if p.requires_grad)
        trained = sum(sizes.get(name, 0) for name in self.trained)
        return Report(
            method=self.method.name,
            sites=len(self.sites),
            trainable=added + trained,
            trainable_added=added,
            trainable_head=sum(sizes.get(name, 0) for name in self.head),
            base=sum(sizes.values()),
            coverage=covered.share,
            reached=dict(sorted(Counter(role for site in self.sites for role in site.roles).items())),
            unreached=covered.unreached,
            unheard=self.anatomy.unheard(),
        )


def _require_adapter(method: Method, name: str, adapter: object, sites: Mapping[str, Site]) -> None:
    if not isinstance(adapter, SiteAdapter):
        raise InvalidPluginError(
            f"{method.name}.build returned {type(adapter).__name__} for {name}: it must return an OutputAdapter, or "
            "another kind of adapter."
        )
    if name not in sites:
        raise InvalidPluginError(f"{method.name}.build_all returned an adapter for {name}, which is none of its sites.")


def _place(adapter: SiteAdapter, site: Site) -> None:
    """Move a built adapter to the site's device and dtype."""
    # Module.to and Module.parameters take 20 us each, a fifth of an attachment, and seldom change anything.
    own = [tensor for tensor in adapter._parameters.values() if tensor is not None]
    if adapter._modules or any(tensor.device != site.device or tensor.dtype != site.dtype for tensor in own):
        adapter.to(site.device, site.dtype)


def make_plan(
    model: nn.Module,
    method: Method,
    *,
    train: Sequence[str] = (),
    train_head: bool = True,
    dtype: torch.dtype | None = None,
) -> Plan:
    """The plan of attaching ``method`` to ``model``; nothing is changed.

    Args:
        model: The base model.
        method: The method with its settings.
        train: Globs over names of base parameters to train and save besides.
        train_head: Whether the parameters of a new task head are trained and saved too.
        dtype: What the adapters' parameters are made in, if not as ``Site.dtype`` says.

    Raises:
        TargetError: Targets or globs that match nothing, or nothing the method can adapt.
        FormatError: A base parameter that cannot be trained in the format it is stored in.
        PlanError: There would be nothing to train.
    """
    found = anatomy(model)
    head = found.head if train_head else ()
    _refuse_packed(found, method, (*method.trained_parameters(), *train))
    trained = _trained(model, method, head, read_parameters(found, method), train)
    ignored = frozenset(name.removesuffix(".weight") for name in trained if name.endswith(".weight"))
    sites = [site_of(part, dtype) for part in matching_parts(found, method, ignored)]
    plan = Plan(model, method, tuple(sites), trained, head, found)
    _check(plan)
    return plan


def plan_for(model: nn.Module, method: Method, sites: Iterable[str], trained: Sequence[str]) -> Plan:
    """The plan of exactly these sites and trained parameters, as a checkpoint names them.

    Raises:
        TargetError: A name that this model does not have, or not as a part the method accepts.
    """
    found = anatomy(model)
    parts = []
    for name in sites:
        part = found.parts.get(name)
        if part is None or not part.suits(method.accepts):
            raise TargetError(f"{method.name}: this model has no {' or '.join(method.accepts)} module {name}.")
        parts.append(part)
    names = {name for name, _, _ in base_parameters(model)}
    unknown = [name for name in trained if name not in names]
    if unknown:
        raise TargetError(f"{method.name}: this model has no parameter {shortened(unknown)}.")
    head = tuple(name for name in found.head if name in set(trained))
    plan = Plan(model, method, tuple(site_of(part) for part in parts), tuple(trained), head, found)
    _check(plan)
    return plan


def site_of(part: Part, dtype: torch.dtype | None = None) -> Site:
    """The site at one part of a model."""
    own = (parameter for parameter in part.module._parameters.values() if parameter is not None)
    tensor: Tensor | None = next(own, None)  # Module.parameters looks at everything below, and takes 10 us
    if tensor is None:
        tensor = next(itertools.chain(part.module.parameters(), part.module.buffers()))
    in_features, out_features = part.features
    return Site(
        name=part.name,
        module=part.module,
        kind=part.kind,
        roles=part.roles,
        in_features=in_features,
        out_features=out_features,
        feature_axis=part.feature_axis,
        dtype=dtype or (tensor.dtype if tensor.dtype == torch.float64 else torch.float32),
        device=tensor.device,
        attention=part.attention,
        experts=part.experts,
    )


def _check(plan: Plan) -> None:
    if not plan.sites and not plan.trained:
        raise PlanError(
            f"{plan.method.name} would train nothing in this {type(plan.model).__name__}: it has no targets and the "
            "model has no new task head. Name the parameters to train with train=(...)."
        )
    trained = set(plan.trained)
    for name, module, key in base_parameters(plan.model) if trained else ():
        parameter = module._parameters[key]
        if name in trained and parameter is not None and not is_floating(parameter):
            raise _untrainable(name, parameter, plan.method)


def _untrainable(name: str, stored: Tensor, method: Method) -> FormatError:
    kind = stored.dtype if type(stored) in (Tensor, nn.Parameter) else type(stored).__name__
    return FormatError(
        f"{name} is stored as {kind} and cannot be trained itself: load the model in a floating-point dtype, or choose "
        f"a method that adds its own parameters instead of {method.name}."
    )


def _trained(
    model: nn.Module, method: Method, head: Sequence[str], read: Sequence[str], train: Sequence[str]
) -> tuple[str, ...]:
    """Names of the parameters that are trained themselves, in the model's order; a tied one once."""
    globs = (*method.trained_parameters(), *train)
    if not (globs or read):
        return tuple(head)
    names = [name for name, _, _ in base_parameters(model)]
    chosen = {*head, *read, *_glob(names, globs, method)}
    first: dict[int, str] = {}
    for name, module, key in base_parameters(model):
        if name in chosen:
            first.setdefault(id(module._parameters[key]), name)
    return tuple(first.values())


def _refuse_packed(found: Anatomy, method: Method, globs: Sequence[str]) -> None:
    """Refuse to train the weights of linear maps that are no parameters, and that globs would pass over."""
    for name, part in found.parts.items() if globs else ():
        weight = f"{name}.weight"
        if any(fnmatchcase(weight, glob) for glob in globs) and part.kind == "linear" and is_packed(part.module):
            raise _untrainable(weight, getattr(part.module, weight_format(part.module).tensor), method)


def _glob(names: Sequence[str], globs: Sequence[str], method: Method) -> list[str]:
    matched: list[str] = []
    for glob in globs:
        found = [name for name in names if fnmatchcase(name, glob)]
        if not found:
            raise TargetError(f'{method.name}: no parameter of this model matches "{glob}": {suggestion(glob, names)}')
        matched += found
    return matched


def _unique_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Base parameters by name, a tied one once."""
    unique: dict[int, tuple[str, nn.Parameter]] = {}
    for name, module, key in base_parameters(model):
        parameter = module._parameters[key]
        assert parameter is not None
        unique.setdefault(id(parameter), (name, parameter))
    return dict(unique.values())
