"""The functions of the public API: names are looked up in the registry, and the core does the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .adapters import Adapter, Method, Plan, bundle
from .adapters import attach as core
from .adapters.plan import make_plan
from .errors import ConfigError, UnknownNameError, suggestion
from .registry import MethodInfo, registry


def methods() -> dict[str, MethodInfo]:
    """Every method that can be attached, by name."""
    return registry().methods()


def method(name: str, **settings: Any) -> Method:
    """The method called ``name`` with these settings.

    Raises:
        UnknownNameError: No plugin provides it.
        DuplicateNameError: Two plugins provide it.
        ConfigError: A setting it does not have, or a value it refuses.
    """
    return registry().method(name).from_dict(settings)


def attach(
    model: nn.Module,
    method: str | Method,
    *,
    name: str = "default",
    train: Sequence[str] = (),
    train_head: bool = True,
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> Adapter:
    """Put a method on a model, in place.

    ``adapter = inarch.attach(model, "lora", rank=16)`` freezes the base and adds LoRA's parameters to it.
    Everything is planned and checked first; after an error the model is as it was. The base is frozen, its modules,
    names and values stay as they are, and ``adapter.detach()`` gives it back to the bit.

    Args:
        model: Any ``nn.Module``; roles and heads are found best in transformers' models.
        method: A method's name, or a method.
        name: What the adapter is called among the adapters of this model.
        train: Globs over names of base parameters to train and save besides.
        train_head: Whether the parameters of a new task head are trained and saved, as they must be for a new task.
        dtype: What the adapter's parameters are made in; float32 by default, float64 on a float64 base.
        **settings: Settings of the method, when it is given by name.

    Raises:
        UnknownNameError: No plugin provides the method.
        ConfigError: A setting that the method does not have, or that does not fit a site.
        TargetError: Targets that match nothing, or nothing the method can adapt.
        PlanError: Another reason why it cannot be attached.
        DuplicateNameError: The model has an adapter of that name.
    """
    return core.attach(
        model,
        _resolved(method, settings),
        name=name,
        train=train,
        train_head=train_head,
        dtype=dtype,
        origin=find_origin,
    )


def plan(
    model: nn.Module, method: str | Method, *, train: Sequence[str] = (), train_head: bool = True, **settings: Any
) -> Plan:
    """What ``attach`` would do, without doing it: ``print(plan(model, "lora").report())``.

    Raises:
        InarchError: Whatever ``attach`` would raise.
    """
    return make_plan(model, _resolved(method, settings), train=train, train_head=train_head)


def load(model: nn.Module, folder: str | Path, *, name: str = "default", check_base: bool = True) -> Adapter:
    """Attach the adapter of a checkpoint, written by Inarch or by peft, strictly.

    Args:
        model: The base model it was trained on.
        folder: Folder of the checkpoint, or its id on the hub.
        name: What the adapter is called among the adapters of this model.
        check_base: Whether the base must be the one the adapter was trained on, as far as the checkpoint knows it.

    Raises:
        CheckpointKeyError: Missing, unexpected or mis-shaped tensors.
        WrongBaseError: Another base model.
        MissingPluginError: A method that is not installed here.
        CheckpointError: Files that are missing or cannot be read.
        DuplicateNameError: The model has an adapter of that name.
    """
    return core.load(
        model,
        folder,
        name=name,
        check_base=check_base,
        find_method=registry().method_of_record,
        find_peft_method=registry().method_of_peft,
        origin=find_origin,
    )


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """The adapters attached to ``model`` by name; in a copy of a model, the handles on the copy's adapters."""
    return core.adapters(model)


def activate(model: nn.Module, *names: str, **weights: float) -> None:
    """Turn these adapters of ``model`` on, with their weights, and all others off: ``activate(model, "a", b=0.5)``.

    Args:
        model: The model they are attached to.
        *names: Adapters that take part with weight 1.
        **weights: Adapters that take part with another weight, as in ``adapter.weight``.

    Raises:
        UnknownNameError: No adapter of that name; nothing was changed.
        ConfigError: An adapter that cannot be weighed.
    """
    attached = adapters(model)
    chosen = dict.fromkeys(names, 1.0) | weights
    for name in chosen:
        if name not in attached:
            raise UnknownNameError(f'The model has no adapter "{name}": {suggestion(name, attached)}')
    for name, weight in chosen.items():
        attached[name].weight = weight
    for name, adapter in attached.items():
        adapter.enabled = name in chosen


def save_bundle(model: nn.Module, folder: str | Path) -> None:
    """Write every adapter of ``model`` into one folder, each as a checkpoint in a folder of its name.

    Raises:
        PlanError: Nothing is attached.
        CheckpointError: The folder cannot be written; it is as it was.
    """
    bundle.save_bundle(model, folder)


def load_bundle(model: nn.Module, folder: str | Path, *, check_base: bool = True) -> dict[str, Adapter]:
    """Attach every adapter of a bundle, in its order and as each was weighed and turned on or off; all or none.

    Args:
        model: The base model they were trained on.
        folder: The folder.
        check_base: As in ``load``.

    Raises:
        CheckpointError: No bundle, or a checkpoint in it that cannot be loaded; the model is as it was.
    """

    def load_one(place: Path, name: str) -> Adapter:
        return load(model, place, name=name, check_base=check_base)

    return bundle.load_bundle(model, folder, load_one)


def find_origin(method: Method) -> Any:
    """Where a method came from, as its checkpoints say it."""
    return registry().origin(method)


def _resolved(given: str | Method, settings: dict[str, Any]) -> Method:
    if isinstance(given, str):
        return method(given, **settings)
    if settings:
        raise ConfigError(f"{given.name} is given as a method, so its settings are its own: {', '.join(settings)}.")
    return given
