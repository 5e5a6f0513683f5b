"""Attaching and loading: plan, check everything, and only then touch the model."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import (
    CheckpointError,
    CheckpointKeyError,
    ConfigError,
    DuplicateNameError,
    MissingPluginError,
    PlanError,
    TargetError,
    shortened,
)
from .adapter import Adapter, require_same_tensors
from .attachments import attachments, withdraw
from .base_record import require_same_base
from .checkpoint import STEPS, Checkpoint, Origin, read_checkpoint
from .lifecycle import has_lifecycle
from .method import Method
from .model_adapter import ModelAdapter
from .peft_format import trained_prefix
from .plan import Plan, make_plan, plan_for
from .site_adapter import SiteAdapter

FindOrigin = Callable[[Method], Origin]
FindMethod = Callable[[Mapping[str, Any]], type[Method]]
FindPeftMethod = Callable[[str, Collection[type[Method]]], type[Method]]


def attach(
    model: nn.Module,
    method: Method,
    *,
    name: str,
    train: Sequence[str],
    train_head: bool,
    dtype: torch.dtype | None,
    origin: FindOrigin,
) -> Adapter:
    """Attach ``method`` to ``model``; ``inarch.attach`` says the rest."""
    _require_free_name(model, name)
    _require_room(model)
    plan = make_plan(model, method, train=train, train_head=train_head, dtype=dtype)
    return _attached(plan, plan.build(), name, origin)


def load(
    model: nn.Module,
    folder: str | Path,
    *,
    name: str,
    check_base: bool,
    find_method: FindMethod,
    find_peft_method: FindPeftMethod,
    origin: FindOrigin,
) -> Adapter:
    """Attach the adapter of a checkpoint; ``inarch.load`` says the rest."""
    _require_free_name(model, name)
    _require_room(model)
    checkpoint = read_checkpoint(folder)
    if checkpoint.record is not None:
        plan = _plan_of_record(model, checkpoint.record, find_method, check_base=check_base)
    else:
        plan = _plan_of_peft(model, checkpoint, find_peft_method)
    modules = plan.build()
    tensors, expected = checkpoint.tensors, _expected_shapes(plan, modules)
    if has_lifecycle(plan.method):
        expected[STEPS] = ()
        tensors.setdefault(STEPS, torch.tensor(0))  # peft's files do not say
    require_same_tensors(expected, tensors)
    adapter = _attached(plan, modules, name, origin)
    adapter.restore(tensors)
    return adapter


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """The adapters attached to ``model`` by name, in the order they were attached."""
    found = attachments(model)
    return dict(found.adapters) if found else {}


def _require_free_name(model: nn.Module, name: str) -> None:
    if not re.fullmatch(r"\w[\w-]*", name) or hasattr(nn.Module, name) or name == "switches":
        raise ConfigError(f'"{name}" cannot name an adapter: use letters, digits, _ and -, and no word of nn.Module.')
    if name in adapters(model):
        raise DuplicateNameError(
            f'The model has an adapter named "{name}" already ({adapters(model)[name].method.name}): '
            "give this one another name=, or detach that one."
        )


def _require_room(model: nn.Module) -> None:
    for name, adapter in adapters(model).items():
        if _is_alone(adapter.modules):
            raise PlanError(
                f'The adapter "{name}" ({adapter.method.name}) changes the model itself, so that no other can be '
                "attached beside it: detach it first."
            )


def _is_alone(modules: Mapping[str, SiteAdapter]) -> bool:
    return any(isinstance(module, ModelAdapter) for module in modules.values())


def _attached(plan: Plan, modules: dict[str, SiteAdapter], name: str, origin: FindOrigin) -> Adapter:
    others = adapters(plan.model)
    if others and _is_alone(modules):
        raise PlanError(
            f"{plan.method.name} changes the model itself, so that it cannot be attached beside {shortened(others)}: "
            "detach that first."
        )
    try:
        return Adapter(plan, modules, name, origin)
    except Exception:
        withdraw(plan.model, name)
        raise


def _plan_of_record(model: nn.Module, record: Mapping[str, Any], find_method: FindMethod, *, check_base: bool) -> Plan:
    method = find_method(record).from_dict(record["settings"])
    if check_base:
        require_same_base(model, record["base"], record["trained"])
    return _plan_or_key_error(model, method, record["sites"], record["trained"])


def _plan_of_peft(model: nn.Module, checkpoint: Checkpoint, find_method: FindPeftMethod) -> Plan:
    peft_type = checkpoint.config.get("peft_type")
    if not isinstance(peft_type, str):
        raise CheckpointError(f"{checkpoint.folder} is a checkpoint of neither Inarch nor peft: it names no peft_type.")
    refused: dict[type[Method], CheckpointError] = {}
    while True:
        try:
            found = find_method(peft_type, refused)
        except MissingPluginError as missing:
            raise next(iter(refused.values()), missing) from None
        assert found.peft is not None
        try:
            method, sites, trained = found.peft.read(model, checkpoint.config, checkpoint.tensors)
        except CheckpointError as refusal:  # an option that this one does not have; another may have it
            refused[found] = refusal
        else:
            return _plan_or_key_error(model, method, sites, trained)


def _plan_or_key_error(model: nn.Module, method: Method, sites: Sequence[str], trained: Sequence[str]) -> Plan:
    try:
        return plan_for(model, method, sites, trained)
    except TargetError as error:
        raise CheckpointKeyError(
            f"The checkpoint does not fit this {type(model).__name__}: {error} "
            f"It adapts {shortened(sites, 3) or 'nothing'}: load it onto the model it was trained on."
        ) from error


def _expected_shapes(plan: Plan, modules: Mapping[str, SiteAdapter]) -> dict[str, tuple[int, ...]]:
    held = dict(plan.model.named_parameters(remove_duplicate=False))
    prefix = trained_prefix(plan.method.peft)
    expected = plan.tensors_of(modules) | {prefix + name: held[name] for name in plan.trained}
    return {key: tuple(tensor.shape) for key, tensor in expected.items()}
