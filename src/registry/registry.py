"""The registry: the plugins of this process and what they brought, by kind and name."""

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pluggy
from torch import nn

from ..adapters import Method, Origin
from ..adapters.declared_roles import declare_roles, withdraw_roles
from ..errors import DuplicateNameError, InvalidPluginError, MissingPluginError, UnknownNameError, suggestion
from ..quant import WeightFormat, weight_format
from .abilities import abilities
from .discovery import DISABLE, EXTRA, discover
from .hookspecs import PROJECT, HookSpecs
from .plugin import Plugin, PluginWarning


@dataclass(frozen=True)
class MethodInfo:
    """What ``inarch.methods()`` says of a method.

    Attributes:
        name: What ``attach`` calls it.
        summary: First line of its docstring.
        settings: Its settings with their defaults.
        plugin: Name of the plugin that brought it.
        distribution: The package that brought it.
        version: Version of that package.
        peft_type: What peft calls it, for a method whose checkpoints peft can read; else empty.
        method: The method itself.
    """

    name: str
    summary: str
    settings: Mapping[str, Any]
    plugin: str
    distribution: str
    version: str
    peft_type: str
    method: type[Method] = field(repr=False)

    @property
    def supports(self) -> Mapping[str, Any]:
        """What it can do besides training, such as merging; asked when it is read, since some methods have to try."""
        return abilities(self.method)

    def to_dict(self) -> dict[str, Any]:
        """The method as JSON types."""
        told = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "method"}
        return told | {"supports": dict(self.supports)}


class Registry:
    """Plugins, and what they brought. Use ``registry()``, which is made once a process."""

    def __init__(self) -> None:
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(HookSpecs)
        self._brought: dict[str, dict[str, list[tuple[Any, Plugin]]]] = {}
        self._anatomies: list[tuple[str, tuple[str, ...], Plugin]] = []
        self._families: dict[str, tuple[Callable[[], Iterable[type[Method]]], Plugin]] = {}
        self._of_families: list[str] = []
        self.plugins = discover()
        for plugin in self.plugins:
            self._admit(plugin)
        self._call("register_methods", register=self._register_method)
        self._call("register_families", register=self._register_family)
        self._call("register_formats", register=self._register_format)
        self._call("register_anatomy", register=self._register_anatomy)

    def methods(self) -> dict[str, MethodInfo]:
        """Every method that can be attached, by name."""
        self._make_families()
        return {
            name: _method_info(*found[0]) for name, found in sorted(self._kind("method").items()) if len(found) == 1
        }

    def method(self, name: str) -> type[Method]:
        """The method called ``name``.

        Raises:
            UnknownNameError: There is none.
            DuplicateNameError: Two plugins bring one.
        """
        method: type[Method] = self.item("method", name)
        return method

    def method_of_peft(self, peft_type: str, besides: Collection[type[Method]] = ()) -> type[Method]:
        """The method whose checkpoints peft calls ``peft_type``; one of a family only where there is no other.

        Args:
            peft_type: peft's name of it.
            besides: Methods that will not do.

        Raises:
            MissingPluginError: There is none.
        """
        for name in [*self._kind("method"), *self._make_families()]:
            method = self.method(name)
            if method.peft is not None and method.peft.peft_type == peft_type and method not in besides:
                return method
        raise MissingPluginError(
            f"The checkpoint is of peft's {peft_type}, which no installed plugin reads. Load it with peft, or install "
            "a plugin for it."
        )

    def method_of_record(self, record: Mapping[str, Any]) -> type[Method]:
        """The method that a checkpoint's record names.

        Raises:
            MissingPluginError: It is not installed here; the message says what to install.
        """
        try:
            return self.method(record["method"])
        except UnknownNameError as error:
            package = f"{record['distribution']}=={record['version']}" if record["distribution"] else record["plugin"]
            raise MissingPluginError(
                f'The checkpoint is of the method "{record["method"]}", which no installed plugin provides: '
                f"pip install {package}."
            ) from error

    def origin(self, method: Method) -> Origin:
        """Where a method came from; a class that was never registered comes from its module."""
        for registered, plugin in self._kind("method").get(method.name, []):
            if registered is type(method):
                return Origin(plugin.name, plugin.distribution, plugin.version)
        return Origin(type(method).__module__, "", "")

    def collect(self, hook: str, kind: str, base: type) -> None:
        """Ask plugins once for the named classes that a hook registers, such as tasks; ``item`` then finds them.

        Args:
            hook: Name of the hook.
            kind: What it brings, in a word, for messages.
            base: The class that each must derive from.
        """
        if kind not in self._brought:
            self._brought[kind] = {}
            self._call(hook, register=lambda plugin: lambda item: self._bring(kind, item, base, plugin))

    def item(self, kind: str, name: str) -> Any:
        """What is registered under ``name`` among ``kind``.

        Raises:
            UnknownNameError: Nothing is.
            DuplicateNameError: Two plugins registered something.
        """
        found = self._kind(kind).get(name, [])
        if not found and kind == "method":
            self._make_families()
            found = self._kind(kind).get(name, [])
        if len(found) > 1:
            origins = " and ".join(plugin.origin for _, plugin in found)
            raise DuplicateNameError(
                f'Two plugins provide the {kind} "{name}": {origins}. Uninstall one, or leave one out by its package: '
                f"{DISABLE}={found[-1][1].distribution or found[-1][1].name}."
            )
        if not found:
            raise UnknownNameError(
                f'There is no {kind} "{name}": {suggestion(name, self._kind(kind))} If a package provides it, install '
                f"that with pip; if a module of yours does, name it in {EXTRA}."
            )
        return found[0][0]

    def add_commands(self, app: Any) -> None:
        """Let plugins add their commands to the command line."""
        self._call("register_commands", app=lambda plugin: app)

    def _kind(self, kind: str) -> dict[str, list[tuple[Any, Plugin]]]:
        return self._brought.setdefault(kind, {})

    def _admit(self, plugin: Plugin) -> None:
        """Hold the plugin's hooks against the specifications."""
        if plugin.state == "loaded":
            try:
                self._pluggy.register(plugin.module, name=f"{plugin.distribution}:{plugin.name}")
                self._pluggy.check_pending()
            except (pluggy.PluginValidationError, ValueError) as error:
                if self._pluggy.is_registered(plugin.module):
                    self._pluggy.unregister(plugin.module)
                plugin.state, plugin.reason = "failed", str(error).replace("\n", " ")
        if plugin.state == "failed":
            self._warn(plugin)

    def _call(self, hook: str, **arguments: Callable[[Plugin], Any]) -> None:
        """Call a hook of each plugin on its own: what one raises leaves the others be."""
        for plugin in self.plugins:
            if plugin.state != "loaded":
                continue
            for caller in self._pluggy.get_hookcallers(plugin.module) or []:
                if caller.name == hook:
                    self._call_one(hook, plugin, arguments)

    def _call_one(self, hook: str, plugin: Plugin, arguments: Mapping[str, Callable[[Plugin], Any]]) -> None:
        others = [other.module for other in self.plugins if other is not plugin and other.module is not None]
        try:
            caller = self._pluggy.subset_hook_caller(hook, others)
            caller(**{name: make(plugin) for name, make in arguments.items()})
        except Exception as error:  # whatever a stranger's hook raises must not stop the others
            plugin.state, plugin.reason = "failed", f"hook {hook}: {type(error).__name__}: {error}"
            self._withdraw(plugin)
            self._warn(plugin)

    def _withdraw(self, plugin: Plugin) -> None:
        """Take back what a plugin registered before it failed."""
        plugin.provides.clear()
        for model, globs, owner in self._anatomies:
            if owner is plugin:
                withdraw_roles(model, globs)
        for names in self._brought.values():
            for name in list(names):
                names[name] = [(item, owner) for item, owner in names[name] if owner is not plugin]
                if not names[name]:
                    del names[name]

    def _warn(self, plugin: Plugin) -> None:
        warnings.warn(f"Inarch left out the plugin {plugin.origin}: {plugin.reason}", PluginWarning, stacklevel=2)

    def _register_method(self, plugin: Plugin) -> Callable[[type[Method]], None]:
        def register(method: type[Method]) -> None:
            self._bring("method", method, Method, plugin)

        return register

    def _register_family(self, plugin: Plugin) -> Callable[[str, Callable[[], Iterable[type[Method]]]], None]:
        def register(family: str, make: Callable[[], Iterable[type[Method]]]) -> None:
            self._families[family] = (make, plugin)
            plugin.provides.append(f"methods {family}/...")

        return register

    def _make_families(self) -> list[str]:
        """Make the methods that nobody has asked for yet, and name those that have been made."""
        while self._families:
            family, (make, plugin) = self._families.popitem()
            try:
                for method in make():
                    self._bring("method", method, Method, plugin)
                    self._of_families.append(method.name)
            except Exception as error:  # whatever a stranger's family raises must not stop the others
                plugin.state, plugin.reason = "failed", f"methods {family}/...: {type(error).__name__}: {error}"
                self._withdraw(plugin)
                self._warn(plugin)
        return self._of_families

    def _register_format(self, plugin: Plugin) -> Callable[[type[nn.Module], WeightFormat], None]:
        def register(module_type: type[nn.Module], stored: WeightFormat) -> None:
            if not isinstance(stored, WeightFormat):
                raise InvalidPluginError(f"register({module_type!r}, {stored!r}): the second must be a WeightFormat.")
            weight_format.register(module_type, lambda module: stored)
            plugin.provides.append(f"format of {module_type.__name__}")

        return register

    def _register_anatomy(self, plugin: Plugin) -> Callable[[str, Mapping[str, Sequence[str]]], None]:
        def register(model: str, roles: Mapping[str, Sequence[str]]) -> None:
            declare_roles(model, roles)
            self._anatomies.append((model, tuple(roles), plugin))
            plugin.provides.append(f"roles of {model}")

        return register

    def _bring(self, kind: str, item: Any, base: type, plugin: Plugin) -> None:
        _require_named_class(kind, item, base)
        if base is Method:
            _require_method(item)
        plugin.provides.append(f"{kind} {item.name}")
        self._kind(kind).setdefault(item.name, []).append((item, plugin))


@cache
def registry() -> Registry:
    """The registry of this process, made at its first use."""
    return Registry()


def _require_named_class(kind: str, item: Any, base: type) -> None:
    if not (isinstance(item, type) and issubclass(item, base)):
        raise InvalidPluginError(f"register({item!r}): a {kind} is a subclass of {base.__name__}.")
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_/-]*", name):
        raise InvalidPluginError(f"{item.__name__}.name is {name!r}: it must be a word of a-z, 0-9, -, _ and /.")
    text = (item.__dict__.get("__doc__") or "").strip()
    if not text or text.startswith(f"{item.__name__}("):  # the latter is what dataclass writes where there is none
        raise InvalidPluginError(f"{item.__name__} has no docstring: open it with what it computes, in one line.")


def _require_method(method: type[Method]) -> None:
    parameters = method.__dict__.get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise InvalidPluginError(f"{method.__name__} is no dataclass: put @dataclass(frozen=True, kw_only=True).")
    without_default = [
        each.name
        for each in dataclasses.fields(method)
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]
    if without_default:
        raise InvalidPluginError(f"{method.__name__}.{without_default[0]} has no default: every setting needs one.")
    _require_search(method)


def _require_search(method: type[Method]) -> None:
    settings = {each.name for each in dataclasses.fields(method)}
    for name, values in method.search.items():
        if name not in settings and name != "learning_rate":
            raise InvalidPluginError(f'{method.__name__}.search names "{name}": {suggestion(name, settings)}')
        if not (isinstance(values, tuple) and values):
            raise InvalidPluginError(f'{method.__name__}.search["{name}"] is {values!r}: it must be a tuple of values.')
    rates = method.search.get("learning_rate", ())
    if not rates or min(rates) <= 0 or list(rates) != sorted(set(rates)):
        raise InvalidPluginError(
            f'{method.__name__}.search has the learning rates {rates!r}: it must name some under "learning_rate", '
            "above 0 and ascending."
        )


def _method_info(method: type[Method], plugin: Plugin) -> MethodInfo:
    return MethodInfo(
        name=method.name,
        summary=inspect.cleandoc(method.__doc__ or "").split("\n", 1)[0],
        settings=method().to_dict(),
        plugin=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        peft_type=method.peft.peft_type if method.peft else "",
        method=method,
    )
