"""The registry: how plugins are found, and what they bring."""

from .hookspecs import hookimpl
from .plugin import Plugin, PluginWarning
from .registry import MethodInfo, Registry, registry

__all__ = ["MethodInfo", "Plugin", "PluginWarning", "Registry", "hookimpl", "registry"]
