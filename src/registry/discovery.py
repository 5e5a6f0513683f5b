"""Discovery: which plugins there are, from entry points and the environment, each imported on its own.

pluggy's own loader stops at the first plugin that fails to import, and of two entry points with one name it drops the
second without a word. Here each is imported in isolation, and neither is dropped.

The environment decides too:

    INARCH_DISABLE_PLUGINS=name,distribution    leaves out plugins by name, or all of a distribution; ``*`` leaves out
                                                all but Inarch's own
    INARCH_PLUGINS=module,package.module        loads modules that no installed package announces
"""

import importlib
import os
from collections.abc import Iterator
from importlib.metadata import entry_points

from .plugin import Plugin

GROUP = "inarch"
DISABLE = "INARCH_DISABLE_PLUGINS"
EXTRA = "INARCH_PLUGINS"
OWN_DISTRIBUTION = "inarch"


def discover() -> list[Plugin]:
    """Every plugin that is announced, imported where it is not disabled; a failure is noted in the plugin."""
    disabled = set(_listed(DISABLE))
    plugins = [*_announced(), *(Plugin(name, name) for name in _listed(EXTRA))]
    for plugin in plugins:
        if _is_disabled(plugin, disabled):
            plugin.state, plugin.reason = "disabled", f"left out by {DISABLE}"
        else:
            _import(plugin)
    return plugins


def _announced() -> Iterator[Plugin]:
    """Plugins by entry point, Inarch's own first; the same one announced twice on the path is given once."""
    seen = set()
    for point in entry_points(group=GROUP):
        distribution = point.dist
        name = distribution.name if distribution else ""
        if (point.name, point.value, name) not in seen:
            seen.add((point.name, point.value, name))
            yield Plugin(point.name, point.value, name, distribution.version if distribution else "")


def _listed(variable: str) -> list[str]:
    return [name for part in os.environ.get(variable, "").split(",") if (name := part.strip())]


def _is_disabled(plugin: Plugin, disabled: set[str]) -> bool:
    foreign = plugin.distribution != OWN_DISTRIBUTION
    return bool({plugin.name, plugin.distribution} & disabled) or ("*" in disabled and foreign)


def _import(plugin: Plugin) -> None:
    try:
        plugin.module = importlib.import_module(plugin.value)
    except Exception as error:  # whatever a stranger's module raises must not stop the others
        plugin.state, plugin.reason = "failed", f"import of {plugin.value}: {type(error).__name__}: {error}"
