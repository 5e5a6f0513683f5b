"""Families: methods that are made when one of them is first asked for."""

import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inarch.errors import MissingPluginError, UnknownNameError
from inarch.registry import PluginWarning
from inarch.registry.registry import Registry

FAMILY = """
    from dataclasses import dataclass
    import inarch
    from inarch_plugins.bitfit import BitFit

    made = []

    class Files(inarch.PeftFormat):
        tensors = {{}}

        def __init__(self, peft_type):
            self.peft_type = peft_type

        def config(self, method, sites):
            return {{}}

        def method(self, config, shapes):
            return Second()

    @dataclass(frozen=True, kw_only=True)
    class First(BitFit):
        '''One.'''

        name = "kin/first"
        peft = Files("LORA")

    @dataclass(frozen=True, kw_only=True)
    class Second(BitFit):
        '''Two.'''

        name = "kin/second"
        peft = Files("KIN")

    def every():
        made.append(1)
        {body}

    @inarch.hookimpl
    def register_families(register):
        register("kin", every)
"""

Bring = Callable[[str], Any]


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a family, named by the environment."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INARCH_PLUGINS", "kin_of_ours")

    def write(body: str) -> Any:
        (tmp_path / "kin_of_ours.py").write_text(textwrap.dedent(FAMILY.format(body=body)))
        return Registry()

    yield write
    sys.modules.pop("kin_of_ours", None)


def test_a_family_is_made_once_and_late(bring: Bring) -> None:
    registry = bring("return [First, Second]")
    made = sys.modules["kin_of_ours"].made
    assert registry.method("bitfit").name == "bitfit"
    assert made == []
    assert registry.method("kin/first").name == "kin/first"
    assert {"kin/first", "kin/second"} <= registry.methods().keys()
    assert made == [1]
    assert registry.origin(registry.method("kin/first")()).plugin == "kin_of_ours"


def test_unknown_names_are_held_against_it(bring: Bring) -> None:
    registry = bring("return [First, Second]")
    with pytest.raises(UnknownNameError, match='did you mean "kin/second"'):
        registry.method("kin/secnod")


def test_a_method_of_its_own_comes_before_one_of_a_family(bring: Bring) -> None:
    registry = bring("return [First, Second]")
    native = registry.method_of_peft("LORA")
    assert native.name == "lora"
    assert registry.method_of_peft("KIN").name == "kin/second"
    assert registry.method_of_peft("LORA", [native]).name in ("kin/first", "peft/lora")
    with pytest.raises(MissingPluginError, match="NOSUCH"):
        registry.method_of_peft("NOSUCH")


def test_a_family_that_fails_leaves_the_others_be(bring: Bring) -> None:
    registry = bring("raise RuntimeError('no such library')")
    with pytest.warns(PluginWarning, match=r"methods kin/\.\.\.: RuntimeError: no such library"):
        names = registry.methods().keys()
    assert "lora" in names
    assert not any(name.startswith("kin/") for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.method("lora").name == "lora"


def test_what_a_method_supports_is_read_off_its_class(bring: Bring) -> None:
    methods = bring("return [First, Second]").methods()
    assert dict(methods["bitfit"].supports) == {"modules": ["bias"], "merge": True}
    assert methods["full"].supports["merge"] is True
    assert methods["kin/first"].to_dict()["supports"]["merge"] is True
