import sys
import textwrap
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

import inarch
from inarch.errors import DuplicateNameError, UnknownNameError
from inarch.quant import WeightFormat, weight_format
from inarch.registry import PluginWarning, discovery
from inarch.registry.registry import Registry

from families import FAMILIES

METHOD = """
    from dataclasses import dataclass
    import inarch
    from inarch_plugins.bitfit import BiasShift

    @dataclass(frozen=True, kw_only=True)
    class Mine(inarch.Method):
        '''y' = y + b.'''

        name = "{name}"

        def build(self, site):
            return BiasShift(site)

    @inarch.hookimpl
    def register_methods(register):
        register(Mine)
"""


class Distribution:
    def __init__(self, name: str, version: str) -> None:
        self.name, self.version = name, version


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write modules and announce them by entry points, beside Inarch's own."""
    monkeypatch.syspath_prepend(tmp_path)
    announced = list(discovery.entry_points(group="inarch"))
    monkeypatch.setattr(discovery, "entry_points", lambda group: announced)
    written: list[str] = []

    def add(name: str, source: str, distribution: str = "", entry: str = "") -> None:
        module = f"stranger_{name}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        written.append(module)
        point = EntryPoint(entry or name, module, "inarch")
        vars(point).update(dist=Distribution(distribution or f"inarch-{name}", "1.2"))
        announced.append(point)

    yield add
    for module in written:
        sys.modules.pop(module, None)


def quiet() -> Registry:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Registry()


def warned() -> tuple[Registry, list[str]]:
    with pytest.warns(PluginWarning) as caught:
        registry = Registry()
    return registry, [str(warning.message) for warning in caught]


NATIVE = {
    "adalora", "bitfit", "bottleneck", "compacter", "full", "head", "ia3", "ln", "lora", "loreft", "prefix", "prompt", "vera"
}  # fmt: skip
BUILT_IN = NATIVE | {f"peft/{kind.value.lower()}" for kind in PEFT_TYPE_TO_CONFIG_MAPPING}


def test_built_in_methods_come_through_entry_points() -> None:
    registry = quiet()
    assert set(registry.methods()) == BUILT_IN
    assert {plugin.distribution for plugin in registry.plugins} == {"inarch"}
    info = registry.methods()["lora"]
    assert (info.plugin, info.peft_type, info.settings["rank"]) == ("lora", "LORA", 8)
    assert info.summary.startswith("h = W x + (alpha / rank) B A x")


def test_a_stranger_is_found_and_named(install: Install) -> None:
    install("mine", METHOD.format(name="mine"))
    registry = quiet()
    method = registry.method("mine").from_dict({})
    adapter = inarch.attach(FAMILIES["llama"].model(), method)
    assert len(adapter.sites) == 14
    origin = registry.origin(method)
    assert (origin.plugin, origin.distribution, origin.version) == ("mine", "inarch-mine", "1.2")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SyntaxError('bad')", "SyntaxError: bad"),
        ("import inarch\n@inarch.hookimpl\ndef register_method(register): pass", "unknown hook 'register_method'"),
        ("import inarch\n@inarch.hookimpl\ndef register_methods(registr): pass", "registr"),
        (
            "import inarch\n@inarch.hookimpl\ndef register_methods(register): 1 / 0",
            "hook register_methods: ZeroDivisionError",
        ),
        (
            "import inarch\n@inarch.hookimpl\ndef register_methods(register): register(3)",
            "register(3): a method is a subclass of Method",
        ),
        (METHOD.format(name="No Name"), "it must be a word of a-z"),
        (METHOD.format(name="mine").replace("'''y' = y + b.'''", ""), "has no docstring"),
        (METHOD.format(name="mine").replace("frozen=True, ", ""), "frozen"),
        (METHOD.format(name="mine").replace("@dataclass(frozen=True, kw_only=True)", ""), "is no dataclass"),
        (
            METHOD.format(name="mine").replace('name = "mine"', 'name = "mine"\n        size: int'),
            "Mine.size has no default",
        ),
        *(
            (METHOD.format(name="mine").replace('name = "mine"', f'name = "mine"\n        search = {search}'), reason)
            for search, reason in {
                "{}": "has the learning rates ()",
                "{'learning_rate': (1e-2, 1e-3)}": "above 0 and ascending",
                "{'learning_rate': (0.0, 1e-3)}": "above 0 and ascending",
                "{'learning_rate': 1e-3}": "it must be a tuple of values",
                "{'learning_rate': (1e-3,), 'scale': (1, 2)}": 'Mine.search names "scale"',
                "{'learning_rate': (1e-3,), 'targets': ()}": "it must be a tuple of values",
            }.items()
        ),
        ("import inarch\n@inarch.hookimpl\ndef register_formats(register): register(int, 3)", "must be a WeightFormat"),
    ],
)
def test_a_plugin_that_fails_is_left_out_and_the_rest_go_on(install: Install, source: str, reason: str) -> None:
    install("broken", source)
    install("good", METHOD.format(name="good"))
    registry, messages = warned()
    assert len(messages) == 1
    assert 'the plugin "broken" of inarch-broken 1.2' in messages[0]
    assert reason in messages[0]
    assert set(registry.methods()) == BUILT_IN | {"good"}
    assert {plugin.name: plugin.state for plugin in registry.plugins}["broken"] == "failed"


def test_what_a_plugin_registered_before_it_failed_is_taken_back(install: Install) -> None:
    install("half", METHOD.format(name="half") + "\n        raise RuntimeError('later')")
    registry, messages = warned()
    assert "RuntimeError: later" in messages[0]
    assert set(registry.methods()) == BUILT_IN


def test_two_methods_of_one_name_are_refused_by_naming_both(install: Install) -> None:
    install("one", METHOD.format(name="twin"))
    install("two", METHOD.format(name="twin"))
    registry = quiet()
    with pytest.raises(DuplicateNameError) as caught:
        registry.method("twin")
    for part in ('"one" of inarch-one 1.2', '"two" of inarch-two 1.2', "INARCH_DISABLE_PLUGINS=inarch-two"):
        assert part in str(caught.value)
    assert registry.method("lora").name == "lora"


def test_two_entry_points_of_one_name_are_both_loaded(install: Install) -> None:
    install("one", METHOD.format(name="first"), entry="same")
    install("two", METHOD.format(name="second"), entry="same")
    assert set(quiet().methods()) == BUILT_IN | {"first", "second"}


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("bitfit", BUILT_IN - {"bitfit"} | {"mine", "other"}),
        ("inarch-mine, other", BUILT_IN),
        ("*", BUILT_IN),
        ("inarch", {"mine", "other"}),
    ],
)
def test_the_environment_leaves_plugins_out(
    install: Install, monkeypatch: pytest.MonkeyPatch, value: str, left: set[str]
) -> None:
    install("mine", METHOD.format(name="mine"))
    install("other", METHOD.format(name="other"))
    monkeypatch.setenv("INARCH_DISABLE_PLUGINS", value)
    registry = quiet()
    assert set(registry.methods()) == left
    assert all("INARCH_DISABLE_PLUGINS" in plugin.reason for plugin in registry.plugins if plugin.state == "disabled")


def test_the_environment_brings_modules_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loose_method.py").write_text(textwrap.dedent(METHOD.format(name="loose")))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INARCH_PLUGINS", "loose_method")
    registry = quiet()
    assert set(registry.methods()) == BUILT_IN | {"loose"}
    assert registry.methods()["loose"].distribution == ""


def test_an_unknown_name_says_what_there_is_and_what_to_do() -> None:
    with pytest.raises(UnknownNameError) as caught:
        inarch.method("lroa")
    for part in (
        'no method "lroa"',
        'did you mean "lora"?',
        "bitfit, bottleneck, compacter",
        "install",
        "INARCH_PLUGINS",
    ):
        assert part in str(caught.value)


def test_a_format_of_a_stranger_is_used(install: Install) -> None:
    install(
        "format",
        """
        import inarch, torch
        from torch import nn

        class Scaled(nn.Module):
            def __init__(self, weight, scale):
                super().__init__()
                self.weight, self.scale = nn.Parameter(weight, requires_grad=False), scale
            def forward(self, x):
                return x @ (self.weight.T * self.scale)

        class ScaledFormat(inarch.WeightFormat):
            def features(self, module):
                return module.weight.shape[1], module.weight.shape[0]
            def dequantised(self, module):
                return module.weight * module.scale
            def plus(self, module, weight, delta):
                return weight + delta / module.scale

        @inarch.hookimpl
        def register_formats(register):
            register(Scaled, ScaledFormat())
        """,
    )
    registry = quiet()
    import stranger_format  # type: ignore[import-not-found]
    import torch

    assert "format of Scaled" in [item for plugin in registry.plugins for item in plugin.provides]
    model = nn.Sequential(stranger_format.Scaled(torch.randn(3, 4), 0.5))
    assert isinstance(weight_format(model[0]), WeightFormat)
    adapter = inarch.attach(model, "lora", rank=2)
    x = torch.randn(2, 4)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_()
    before = model(x)
    adapter.merge()
    torch.testing.assert_close(model(x), before)


def test_plugins_can_add_commands(install: Install) -> None:
    import typer

    install(
        "command",
        """
        import inarch
        @inarch.hookimpl
        def register_commands(app):
            app.command("greet")(lambda: print("hello"))
        """,
    )
    app = typer.Typer()
    quiet().add_commands(app)
    assert "greet" in [command.name for command in app.registered_commands]
