"""peft's configurations as settings."""

import dataclasses
import json

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

import inarch
from inarch_plugins.peft_bridge.methods import every_method, method_of
from inarch_plugins.peft_bridge.settings import LACKING, OURS, UNFIT

from families import Family

METHODS = [str(peft_type.value) for peft_type in PEFT_TYPE_TO_CONFIG_MAPPING]


@pytest.mark.parametrize("peft_type", METHODS)
def test_every_field_is_a_setting_or_left_out_on_purpose(peft_type: str) -> None:
    method = method_of(peft_type)
    fields = {field.name for field in dataclasses.fields(method.config_class) if field.init}
    settings = {field.name for field in dataclasses.fields(method)} - {"targets"}
    assert settings <= fields
    assert fields - settings <= OURS | LACKING.keys() | {"inference_mode"}


def test_no_name_of_a_left_out_field_is_stale() -> None:
    fields = {field.name for config in PEFT_TYPE_TO_CONFIG_MAPPING.values() for field in dataclasses.fields(config)}
    assert OURS | LACKING.keys() | UNFIT.keys() <= fields


@pytest.mark.parametrize("peft_type", METHODS)
def test_settings_survive_json(peft_type: str) -> None:
    examples = {"total_step": 10} if peft_type == "ADALORA" else {}
    method = method_of(peft_type)(**examples)
    assert type(method).from_dict(json.loads(json.dumps(method.to_dict()))) == method


def test_defaults_are_pefts() -> None:
    for method in every_method():
        config = {field.name: field for field in dataclasses.fields(method.config_class)}
        for field in dataclasses.fields(method):
            if field.name in ("targets", "feedforward_modules", "progressbar"):
                continue
            given = field.default if field.default is not dataclasses.MISSING else field.default_factory()
            theirs = config[field.name]
            expected = theirs.default if theirs.default is not dataclasses.MISSING else theirs.default_factory()
            assert given == expected or list(given) == list(expected), (method.name, field.name)


def test_the_model_is_always_among_the_targets() -> None:
    assert inarch.method("peft/lora", targets="q_proj").targets == ("@model", "q_proj")
    assert inarch.method("peft/lora").targets == ("@model", "@linear")
    assert inarch.method("peft/prefix_tuning").targets == ("@model",)


def test_roles_are_resolved(llama: Family) -> None:
    adapter = inarch.attach(llama.model(), "peft/ia3", targets=("@attention.key", "@mlp.down"))
    layer = "model.layers.0"
    assert [site.name for site in adapter.sites] == ["", f"{layer}.self_attn.k_proj", f"{layer}.mlp.down_proj"]
    shapes = {name.split(".ia3_l")[0]: tuple(p.shape) for name, p in adapter.named_parameters()}
    # (IA)^3 scales what comes out of the keys, and what goes into the second map of the feed-forward block
    assert shapes == {
        f"base_model.model.{layer}.self_attn.k_proj": (16, 1),
        f"base_model.model.{layer}.mlp.down_proj": (1, 48),
    }


def test_a_schedule_learns_the_length_of_the_run() -> None:
    method = inarch.method("peft/adalora")
    assert method.for_steps(7).to_dict()["total_step"] == 7
    assert method.from_dict({"total_step": 3}).for_steps(7).to_dict()["total_step"] == 3
