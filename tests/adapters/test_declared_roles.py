from pathlib import Path

import pytest
from torch import nn

import inarch
from inarch.adapters import anatomy
from inarch.adapters.declared_roles import withdraw_roles
from inarch.registry import PluginWarning, Registry


class Odd(nn.Module):
    """Has names that fool the table."""

    def __init__(self) -> None:
        super().__init__()
        self.my_q, self.query, self.plain = (nn.Linear(4, 4) for _ in range(3))


def test_a_plugin_can_say_what_the_maps_of_a_model_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_anatomy.py").write_text(
        "import inarch\n"
        "@inarch.hookimpl\n"
        "def register_anatomy(register):\n"
        "    register('Odd', {'my_*': ('attention.query', 'mlp.down'), 'query': ()})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INARCH_PLUGINS", "odd_anatomy")
    assert "attention.query" in anatomy(Odd()).parts["query"].roles
    registry = Registry()
    try:
        parts = anatomy(Odd()).parts
        assert parts["my_q"].roles == {
            "linear",
            "bias",
            "attention.query",
            "mlp.down",
            "sublayer.input",
            "sublayer.output",
        }
        assert parts["query"].roles == {"linear", "bias"}
        assert parts["plain"].roles == {"linear", "bias"}
        assert {plugin.name: plugin.provides for plugin in registry.plugins}["odd_anatomy"] == ["roles of Odd"]
        assert [site.name for site in inarch.plan(Odd(), "lora", targets=("@attention.query",)).sites] == ["my_q"]
    finally:
        withdraw_roles("Odd", ("my_*", "query"))
    assert "attention.query" in anatomy(Odd()).parts["query"].roles


@pytest.mark.parametrize(
    "arguments", ["3, {}", "'Odd', ['x']", "'Odd', {'my_q': 'attention.query'}", "'Odd', {'a': ('@mlp.up',)}"]
)
def test_declared_roles_that_cannot_be_leave_the_plugin_out(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad_anatomy.py").write_text(
        "import inarch\n"
        "@inarch.hookimpl\n"
        "def register_anatomy(register):\n"
        "    register('Odd', {'plain': ('mlp.up',)})\n"
        f"    register({arguments})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INARCH_PLUGINS", "bad_anatomy")
    with pytest.warns(PluginWarning, match="register"):
        Registry()
    assert anatomy(Odd()).parts["plain"].roles == {"linear", "bias"}  # what came before it failed is taken back
