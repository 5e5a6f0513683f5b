"""The contract of a method: one frozen dataclass that is its configuration and builds an adapter for a site.

This page and the kind of adapter it builds (``output_adapter.py`` most often) are all that a method author needs to
know. Everything else (freezing, the state dict, saving, loading, merging, detaching, devices, dtypes, reports) is
derived from what stands here.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from ..errors import ConfigError, suggestion
from .peft_format import PeftFormat
from .site import Site
from .site_adapter import SiteAdapter
from .step import Step


@dataclass(frozen=True, kw_only=True)
class Method:
    """A parameter-efficient fine-tuning method together with its settings.

    A subclass is a frozen, keyword-only dataclass whose fields are its settings (of types that JSON knows). Its
    docstring opens with what it computes and ends with the paper.

    Attributes:
        name: What the registry calls it.
        accepts: The kinds or roles of modules it can be built on; a module needs one of them.
        otherwise: The targets for a model that has nothing of the default ones.
        trains_read: The parameters, by their names in a module, that are trained themselves where the model reads them
            without calling the module, so that no adapter would run there.
        peft: How its checkpoints look in peft's format, for a method that peft knows.
        starts_from_base: Whether a model gives what it gave before when the method has just been attached.
        search: What a comparison tunes, and over which values: always the ``learning_rate``, in ascending steps of half
            a decade, and besides it any settings of the method. Registration refuses others.
        targets: Where it goes: roles (``@attention.query``), module names, or globs over them (``*.q_proj``). Of
            targets that are given each must match something; of the default ones, those that a model lacks are left
            out.
    """

    name: ClassVar[str]
    accepts: ClassVar[tuple[str, ...]] = ("linear",)
    otherwise: ClassVar[tuple[str, ...]] = ()
    trains_read: ClassVar[tuple[str, ...]] = ()
    peft: ClassVar[PeftFormat | None] = None
    starts_from_base: ClassVar[bool] = True
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = types.MappingProxyType(
        {"learning_rate": (3e-4, 1e-3, 3e-3, 1e-2)}
    )

    targets: tuple[str, ...] = ("@linear",)

    def build(self, site: Site) -> SiteAdapter:
        """The adapter for one site.

        Raises:
            ConfigError: The settings do not fit the site, such as a rank above its features.
        """
        raise NotImplementedError(f"{type(self).__name__} has targets but builds nothing: define build(self, site)")

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The adapters by site name, where something is shared among sites; sites may be left out."""
        return {site.name: self.build(site) for site in sites}

    def trained_parameters(self) -> tuple[str, ...]:
        """Globs over the names of base parameters that are trained themselves; none for a method that adds its own."""
        return ()

    def learning_rate_factor(self, tensor: str) -> float:
        """What the learning rate is multiplied by for one of its tensors, by the tensor's name in its adapter."""
        return 1.0

    def for_steps(self, steps: int) -> Self:
        """This method for a run of ``steps`` optimizer steps; for one with a schedule that was not told its length."""
        return self

    def penalty(self, adapters: Mapping[str, SiteAdapter]) -> Tensor | None:
        """A scalar added to what is minimised, not to the loss that is reported; asked before each optimizer step."""
        return None

    def after_step(self, adapters: Mapping[str, SiteAdapter], step: Step) -> Self | None:
        """Called after each optimizer step, with the gradients still there.

        Returns:
            The method with new settings, when the step changed what the adapters are (their ranks); else ``None``.
        """
        return None

    def finish(self, adapters: Mapping[str, SiteAdapter]) -> Self | None:
        """Called when training is over: lets go what was only for training; the method with new settings, or None."""
        return None

    def sized(self, size: int) -> Self | None:
        """This method with its one measure of size, such as its rank, set to ``size``; to meet a budget of parameters.

        1 is the smallest size, and a larger one trains no fewer parameters. All other settings mean what they did: what
        is relative to the size, such as LoRA's alpha, changes with it.

        Returns:
            The method; ``None`` for one that has no such measure.
        """
        return None

    def effective(self) -> Self:
        """This method with the sizes that training leaves, to count what is left; not what it was for training alone.

        For a method that trains more than it keeps: a rank that shrinks, or a network that is let go by ``finish``. A
        budget is met by what is effective.
        """
        return self

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON types; ``from_dict`` turns them back into an equal method."""
        return {field.name: _to_json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """A method from its settings.

        Raises:
            ConfigError: A setting that the method does not have, or a value of the wrong type.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        hints = typing.get_type_hints(cls)
        values = {}
        for key, value in settings.items():
            if key not in fields:
                raise ConfigError(f'{cls.name} has no setting "{key}": {suggestion(key, fields)}')
            values[key] = _from_json(value, hints[key], f"{cls.name}.{key}")
        return cls(**values)

    def require(self, holds: bool, setting: str, rule: str) -> None:
        """Refuse a setting, naming it, its value and the rule it breaks; for ``__post_init__`` and ``build``.

        Raises:
            ConfigError: ``holds`` is false.
        """
        if not holds:
            raise ConfigError(f"{self.name}.{setting} is {getattr(self, setting)!r}: {rule}.")


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    return value


def _from_json(value: Any, hint: Any, where: str) -> Any:
    """``value`` as the type that ``hint`` names; integers pass as floats, a single string as a tuple of one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ConfigError(f"{where} is {value!r}: it must be a list.")
        return tuple(_from_json(item, arguments[0], where) for item in items)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}: it must be a mapping.")
        return {str(key): _from_json(item, arguments[1], where) for key, item in value.items()}
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where} is {value!r}: it must be one of {', '.join(map(repr, arguments))}.")
        return value
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(value, arguments, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} is {value!r}: it must be of type {hint.__name__}.")
    return value


def _first_that_fits(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    for hint in hints:
        try:
            return _from_json(value, hint, where)
        except ConfigError:
            continue
    raise ConfigError(f"{where} is {value!r}: it must be one of the types {', '.join(map(str, hints))}.")
