"""The hooks: everything a plugin can bring to Inarch, on one page.

A plugin is a module with functions marked ``@inarch.hookimpl``, named by an entry point of the group ``inarch``. Each
function is given something to register with, and returns nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer
    from torch import nn

    from ..adapters import Method
    from ..quant import WeightFormat
    from ..training import Task

PROJECT = "inarch"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """The specifications that every implementation is held against."""

    @hookspec
    def register_methods(self, register: "Callable[[type[Method]], None]") -> None:
        """Bring fine-tuning methods: ``register(LoRA)``."""

    @hookspec
    def register_families(self, register: "Callable[[str, Callable[[], Iterable[type[Method]]]], None]") -> None:
        """Bring methods named ``<family>/...`` that take long to make: ``register("peft", every_method)``.

        They are made when one of them, or the list of all, is first asked for.
        """

    @hookspec
    def register_formats(self, register: "Callable[[type[nn.Module], WeightFormat], None]") -> None:
        """Bring weight formats: ``register(Linear4bit, NF4())``."""

    @hookspec
    def register_tasks(self, register: "Callable[[type[Task]], None]") -> None:
        """Bring training tasks: ``register(TextClassification)``."""

    @hookspec
    def register_benchmark_tasks(self, register: "Callable[[type], None]") -> None:
        """Bring tasks that methods are compared on: ``register(Digits)``, of ``inarch_benchmarks.comparison``."""

    @hookspec
    def register_benchmark_models(self, register: "Callable[[type], None]") -> None:
        """Bring base models that a script of the plugin's makes: ``register(GlyphModel)``."""

    @hookspec
    def register_executors(self, register: "Callable[[type], None]") -> None:
        """Bring places where the runs of a comparison are computed: ``register(ProcessPool)``."""

    @hookspec
    def register_anatomy(self, register: "Callable[[str, Mapping[str, Sequence[str]]], None]") -> None:
        """Bring the roles of maps whose names say nothing: ``register("my_model", {"*.my_q": ("attention.query",)})``.

        The first is the name of a model's class, or the ``model_type`` of its config; the globs are over whole names.
        """

    @hookspec
    def register_commands(self, app: "typer.Typer") -> None:
        """Bring commands: ``app.command("demo")(demo)``."""
