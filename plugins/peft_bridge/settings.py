"""Settings: the fields of a configuration of peft's as fields of a method, in types that JSON knows."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, TypeAlias

from inarch import Method

from .library import PromptLearningConfig

Scalar: TypeAlias = bool | int | float | str | None
Anything: TypeAlias = (
    Scalar | tuple[Scalar, ...] | Mapping[str, Scalar | tuple[Scalar, ...]]  # what JSON writes, two levels deep
)

OURS = frozenset(
    {
        "target_modules",  # ``targets``, with roles
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "modules_to_save",  # the new head and ``train``
        "bias",  # likewise: peft would train the base's own, which then could not be given back
        "save_only_topk_weights",  # what is written could not be trained on
        "peft_type",
        "peft_version",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "fan_in_fan_out",  # peft sees by itself how a weight lies
        "runtime_config",  # of a machine, not of a method
        "megatron_config",
        "megatron_core",
    }
)
"""Fields that are no settings here, since Inarch says them itself or has no use for them."""

LACKING = {
    "alora_invocation_tokens": "every layer needs the tokens, which only peft's own model passes on",
    "arrow_config": "it needs other adapters beside it",
    "corda_config": "it begins with a pass over data",
    "eva_config": "it begins with a pass over data",
    "lora_ga_config": "it begins with a pass over data",
    "monteclora_config": "it needs a loss of its own in the training loop",
}
"""Fields that are no settings here, since the methods they bring need more than attaching."""

UNFIT: Mapping[str, Mapping[str, str]] = {
    # By the setting, how its value begins: as above.
    "init_lora_weights": {
        "corda": "it begins with a pass over data",
        "eva": "it begins with a pass over data",
        "lora_ga": "it begins with a pass over data",
        "pissa_niter": "it draws random numbers for what it takes from the base weights, and so cannot be loaded again",
    },
}
"""Values that are no settings here."""


@dataclass(frozen=True)
class Setting:
    """One field of a configuration.

    Attributes:
        name: Its name.
        hint: Its type, of those that a method's settings may have.
        default: Its default, as the method holds it.
        required: Whether peft has no default for it, though its type leaves nothing out.
        parts: The configuration class of a field that holds one, and that a mapping stands for.
    """

    name: str
    hint: Any
    default: Any
    required: bool
    parts: type | None

    def field(self) -> Any:
        """The field of the method's dataclass."""
        if isinstance(self.default, Mapping):
            return field(default_factory=lambda: dict(self.default))
        return field(default=self.default)

    def to_peft(self, value: Any) -> Any:
        """The value as peft's configuration takes it."""
        if self.parts is not None and isinstance(value, Mapping):
            return self.parts(**_plain(value))
        return _plain(value)


def settings_of(config_class: type, defaults: Mapping[str, Any]) -> dict[str, Setting]:
    """The settings of a configuration class by name.

    Args:
        config_class: The class.
        defaults: Defaults that are not peft's.
    """
    hints = _hints(config_class)
    fields = [each for each in dataclasses.fields(config_class) if each.init and each.name not in OURS | LACKING.keys()]
    found = {each.name: _setting(each, hints[each.name]) for each in fields if not hasattr(Method, each.name)}
    if not issubclass(config_class, PromptLearningConfig):
        found.pop("inference_mode", None)  # a prompt's encoder is left out then; elsewhere nothing would be trained
    return found | {name: dataclasses.replace(found[name], default=value) for name, value in defaults.items()}


def _setting(declared: "dataclasses.Field[Any]", hint: Any) -> Setting:
    default = declared.default_factory() if declared.default_factory is not MISSING else declared.default
    parts: Any = next((choice for choice in _choices(hint) if dataclasses.is_dataclass(choice)), None)
    without_default = default is None and types.NoneType not in _choices(hint) and hint is not Any
    converted = _json_hint(hint)
    if default is None and types.NoneType not in _choices(converted):
        converted = converted | None
    return Setting(declared.name, converted, frozen(default), without_default, parts)


def frozen(value: Any) -> Any:
    """A value of peft's as a setting holds it: lists and sets as tuples, enumerations as their values."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value))
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if isinstance(value, Mapping):
        return {str(key): frozen(item) for key, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    """A setting as peft takes it: tuples as lists, mappings as dictionaries."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _hints(config_class: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(config_class)
    except NameError:  # a name that is imported for type checkers only
        return {each.name: Any for each in dataclasses.fields(config_class)}


def _choices(hint: Any) -> Sequence[Any]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _json_hint(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        choices: Any = None
        for choice in sorted(map(_json_hint, arguments), key=_narrowness):
            choices = choice if choices is None else choices | choice
        return choices
    if origin is typing.Literal:
        # Some list a placeholder, such as "pissa_niter_[number of iters]": then any word goes, and peft looks at it.
        return str if any("[" in str(argument) for argument in arguments) else hint
    if origin in (list, set, tuple) or hint in (list, set, tuple):
        return tuple[(_json_hint(arguments[0]) if arguments else Scalar), ...]  # type: ignore[misc]
    if origin is dict:
        return Mapping[str, _json_hint(arguments[1])]  # type: ignore[misc]
    if hint is dict or dataclasses.is_dataclass(hint):
        return Mapping[str, Scalar | tuple[Scalar, ...]]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return str
    return hint if hint in (bool, int, float, str, types.NoneType) else Anything


def _narrowness(hint: Any) -> int:
    """The place of a type among alternatives: a float takes integers and a list takes a string, so they come late."""
    order = (types.NoneType, bool, int, float, str)
    return order.index(hint) if hint in order else len(order)
