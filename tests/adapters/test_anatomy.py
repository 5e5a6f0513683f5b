import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.adapters import anatomy
from inarch.adapters.role_names import ROLES_OF_NAME, roles_of_name

from architectures import ENTRIES, made, run
from families import FAMILIES, Family


def parts_of(key: str) -> Any:
    return anatomy(made(key)).parts


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("model.layers.0.self_attn.q_proj", "attention.query"),
        ("bert.encoder.layer.11.attention.self.key", "attention.key"),
        ("transformer.h.3.attn.c_proj", "attention.output"),
        ("transformer.h.3.mlp.c_proj", "mlp.down"),
        ("bert.encoder.layer.0.attention.output.dense", "attention.output"),
        ("bert.encoder.layer.0.crossattention.output.dense", "attention.output"),
        ("bert.encoder.layer.0.output.dense", "mlp.down"),
        ("encoder.block.0.layer.1.DenseReluDense.wi_0", "mlp.gate"),
        ("model.layers.0.self_attn.v_proj.linear", "attention.value"),
        ("blocks.0.feed_forward.key", "mlp.up"),
        ("model.decoder.layers.0.encoder_attn.out_proj", "attention.output"),
        ("model.layers.0.mixer.out_proj", "sublayer.output"),
    ],
)
def test_a_name_has_the_role_of_its_longest_known_ending(name: str, role: str) -> None:
    assert role in roles_of_name(name)


@pytest.mark.parametrize(
    "name",
    ["layers.0.my_query", "layers.0.self_attn.q_projection", "pooler.dense", "layers.0.self_attn.gate_proj", "0"],
)
def test_names_are_compared_whole_and_gates_of_attention_are_none(name: str) -> None:
    assert roles_of_name(name) == frozenset()


def test_what_begins_or_ends_attention_or_an_mlp_begins_or_ends_a_sublayer() -> None:
    for name, roles in ROLES_OF_NAME.items():
        assert ("sublayer.output" in roles) >= bool(roles & {"attention.output", "mlp.down"}), name


@pytest.mark.parametrize(
    ("family", "roles"),
    [
        (
            "llama",
            {"attention.query": 2, "attention.output": 2, "mlp.gate": 2, "mlp.down": 2, "block": 2, "attention": 2},
        ),
        ("gpt2", {"attention.query": 2, "attention.value": 2, "mlp.up": 2, "mlp.down": 2, "block": 2, "attention": 2}),
        ("bert", {"attention.key": 2, "attention.output": 2, "mlp.up": 2, "head": 1, "block": 2, "attention": 2}),
        ("t5", {"attention.query": 6, "mlp.up": 4, "mlp.down": 4, "block": 4, "attention": 6, "sublayer.output": 10}),
        ("vit", {"attention.query": 2, "mlp.down": 2, "convolution": 1, "head": 1, "block": 2, "attention": 2}),
    ],
)
def test_how_many_parts_have_a_role(family: str, roles: dict[str, int]) -> None:
    found = Counter(role for part in anatomy(FAMILIES[family].model()).parts.values() for role in part.roles)
    assert {role: found[role] for role in roles} == roles
    assert found["model"] == 1


def test_parts_stand_in_the_models_order_and_adapters_are_none(family: Family) -> None:
    model = family.model()
    before = anatomy(model)
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    assert list(before.parts) == sorted(before.parts, key=order.__getitem__)
    inarch.attach(model, "lora", rank=2)
    after = anatomy(model)
    assert after == before
    assert [(part.name, part.unheard) for part in after.parts.values()] == [
        (part.name, part.unheard) for part in before.parts.values()
    ]


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> dict[nn.Module, tuple[int, int]]:
    """What arrives at transformers' attention functions: all heads' sizes of keys and values, by module."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    kind = type(ALL_ATTENTION_FUNCTIONS)
    plain = kind.get_interface
    found: dict[nn.Module, tuple[int, int]] = {}

    def recording(self: Any, implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        function = plain(self, implementation, default)

        def attend(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Any:
            found[module] = (k.shape[1] * k.shape[3], v.shape[1] * v.shape[3])
            return function(module, q, k, v, *args, **kwargs)

        return attend

    monkeypatch.setattr(kind, "get_interface", recording)
    return found


ATTENTIONS = [
    "causal-lm/llama",  # fewer heads of keys
    "causal-lm/phi3",  # fused, fewer heads of keys
    "causal-lm/gpt_bigcode",  # fused, one head of keys
    "causal-lm/dbrx",
    "causal-lm/gpt2",
    "causal-lm/deepseek_v3",  # latent
    "causal-lm/axk2",
    "causal-lm/deepseek_v4",  # keys are values
    "causal-lm/jetmoe",  # queries of experts
    "causal-lm/zaya",  # values of two maps
    "causal-lm/mimo_v2_flash",  # values of another size
    "image-text-to-text/diffusion_gemma",  # no values of their own
    "seq2seq-lm/bart",  # across
    "seq2seq-lm/t5",
    "masked-lm/bert",
    "image-classification/swin",
]


@pytest.mark.parametrize("key", ATTENTIONS)
def test_attention_shapes_are_those_that_arrive(key: str, reached: dict[nn.Module, tuple[int, int]]) -> None:
    model = made(key)
    shapes = {part.module: part.attention for part in anatomy(model).parts.values() if part.kind == "attention"}
    run(key, model)
    assert reached
    for module, sizes in reached.items():
        shape = shapes[module]
        assert shape is not None
        assert (shape.key_features, shape.value_features) == sizes


def test_attention_is_what_computes_it_and_nothing_around_it() -> None:
    names = [name for name, part in parts_of("seq2seq-lm/t5").items() if part.kind == "attention"]
    assert names[:2] == ["encoder.block.0.layer.0.SelfAttention", "encoder.block.1.layer.0.SelfAttention"]
    assert "decoder.block.1.layer.1.EncDecAttention" in names
    assert not any(part.kind == "attention" for part in parts_of("causal-lm/mamba").values())


def test_attention_whose_projections_are_its_own_parameters_or_convolutions_is_found() -> None:
    own = parts_of("causal-lm/xlnet")["transformer.layer.0.rel_attn"]
    assert (own.kind, own.features, own.attention) == ("attention", (32, 32), inarch.AttentionShape(32, 32))
    points = parts_of("masked-lm/squeezebert")["transformer.encoder.layers.0.attention"]
    assert (points.kind, points.attention) == ("attention", inarch.AttentionShape(32, 32))
    assert (points.feature_axis, own.feature_axis) == (1, -1)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("masked-lm/nystromformer", "landmarks"),
        ("masked-lm/longformer", "window"),
        ("audio-classification/sew-d", "written by hand"),
        ("sequence-classification/lilt", "attends twice, to keys of 12 and 48 features"),
    ],
)
def test_attention_that_is_no_softmax_over_all_keys_says_so(key: str, why: str) -> None:
    found = [part for part in parts_of(key).values() if part.kind == "attention"]
    assert found
    assert all(why in part.unheard and not part.suits(("attention",)) for part in found)


def test_of_two_kinds_of_attention_the_one_that_is_a_softmax_takes_adapters() -> None:
    usable = [name for name, part in parts_of("seq2seq-lm/led").items() if part.suits(("attention",))]
    assert usable
    assert all(name.startswith("led.decoder.") for name in usable)


# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "blocks"),
    [
        ("seq2seq-lm/t5", {"encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"}),
        ("causal-lm/jamba", {"model.layers.0", "model.layers.1"}),  # of unlike kinds
        ("causal-lm/mamba", {"backbone.layers.0", "backbone.layers.1"}),  # without attention
        ("causal-lm/mixtral", {"model.layers.0", "model.layers.1"}),
        ("image-classification/swin", {f"swin.encoder.layers.{stage}.blocks.0" for stage in range(4)}),
        ("image-classification/resnet", {f"resnet.encoder.stages.{stage}.layers.0" for stage in range(4)}),
        ("masked-lm/albert", {"albert.encoder.albert_layer_groups.0.albert_layers.0"}),
    ],
)
def test_blocks_are_the_units_of_the_stack(key: str, blocks: set[str]) -> None:
    assert {name for name, part in parts_of(key).items() if part.kind == "block"} == blocks


SHAPED = [
    "causal-lm/llama",
    "causal-lm/mixtral",
    "causal-lm/zamba",
    "causal-lm/mamba2",
    "masked-lm/bert",
    "image-classification/resnet",
    "image-classification/convnext",
    "image-classification/swin",
    "image-classification/mobilenet_v1",
    "image-classification/poolformer",
    "masked-lm/mobilebert",  # sublayers of several sizes
    "image-text-to-text/glm5_next",  # blocks that turn axes, and convolve along their tokens
    "speech-seq2seq/vibevoice_asr",  # convolutions along time, and blocks that turn the axes
]


@pytest.mark.parametrize("key", SHAPED)
def test_sizes_of_parts_are_those_of_what_they_give(key: str) -> None:
    model = made(key)
    seen = []

    def check(part: Any, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        assert y.shape[part.feature_axis] == part.features[1], part
        seen.append(part.kind)

    for part in anatomy(model).parts.values():
        if part.kind not in ("model", "embedding") and not part.unheard:
            part.module.register_forward_hook(functools.partial(check, part), with_kwargs=True)
    run(key, model)
    assert "block" in seen


def test_a_norm_that_turns_the_axes_has_its_features_first() -> None:
    norms = [part for part in parts_of("masked-lm/squeezebert").values() if ".layernorm" in part.name]
    assert norms
    for part in norms:
        assert part.feature_axis == 1
        assert part.module(torch.ones(2, part.features[1], 5)).shape == (2, part.features[1], 5)


def test_a_sequence_that_is_a_block_gives_its_place_to_its_last_module() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.a, self.b = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.b(self.a(self.norm(x)).relu())

    model = nn.Sequential(
        nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), Residual()), nn.Sequential(Residual(), Residual())
    )
    blocks = [name for name, part in anatomy(model).parts.items() if "block" in part.roles]
    assert blocks
    assert not any(isinstance(model.get_submodule(name), nn.Sequential) for name in blocks)


@pytest.mark.parametrize(
    "key", ["masked-lm/ibert", "masked-lm/squeezebert", "image-classification/poolformer", "causal-lm/rwkv"]
)
def test_every_model_has_outputs_of_sublayers(key: str) -> None:
    ends = [part for part in parts_of(key).values() if "sublayer.output" in part.roles]
    assert ends
    assert all(part.kind != "model" for part in ends)


# --- experts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "module", "projections", "transposed"),
    [
        ("causal-lm/mixtral", "model.layers.0.mlp.experts", {"gate_up_proj": (32, 96), "down_proj": (48, 32)}, False),
        ("causal-lm/gpt_oss", "model.layers.0.mlp.experts", {"gate_up_proj": (32, 96), "down_proj": (48, 32)}, True),
        ("causal-lm/llama4", None, {"gate_up_proj": (32, 96), "down_proj": (48, 32)}, True),
        ("causal-lm/nemotron_h", None, {"up_proj": (32, 48), "down_proj": (48, 32)}, False),
        ("causal-lm/jetmoe", "model.layers.0.mlp.input_linear", {"weight": (32, 96)}, False),
    ],
)
def test_fused_experts(key: str, module: str | None, projections: dict[str, tuple[int, int]], transposed: bool) -> None:
    found = {name: part for name, part in parts_of(key).items() if part.kind == "experts"}
    part = found[module] if module else next(iter(found.values()))
    assert part.experts is not None
    assert (part.experts.count, dict(part.experts.projections), part.experts.transposed) == (4, projections, transposed)
    assert {"linear", "expert"} <= part.roles
    for name, (in_features, out_features) in projections.items():
        shape = (in_features, out_features) if transposed else (out_features, in_features)
        assert tuple(part.module.get_parameter(name).shape) == (4, *shape)


def test_a_method_for_linear_maps_does_not_get_fused_experts() -> None:
    parts = parts_of("causal-lm/mixtral").values()
    (first, *_) = [part for part in parts if part.kind == "experts"]
    assert not first.suits(("linear", "mlp.down"))
    assert first.suits(("linear", "experts"))


# --- linear maps by other names ---------------------------------------------------------------------------------------


def test_a_class_that_computes_what_a_linear_map_does_is_one() -> None:
    model = made("masked-lm/ibert")
    part = anatomy(model).parts["ibert.encoder.layer.0.attention.self.query"]
    assert (part.kind, part.features) == ("linear", (32, 32))
    assert {"linear", "attention.query"} <= part.roles
    adapter = inarch.attach(model, "lora", rank=2)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1)
    batch = ENTRIES["masked-lm/ibert"].batch()
    plain = model(**batch).logits
    adapter.merge()
    torch.testing.assert_close(model(**batch).logits, plain)
    with adapter.disabled():
        assert not torch.allclose(model(**batch).logits, plain, atol=1e-3)


def test_a_router_is_none() -> None:
    assert "model.layers.0.mlp.gate" not in parts_of("causal-lm/mixtral")
    assert "model.layers.0.mlp.gate" not in parts_of("causal-lm/deepseek_v4")


def test_a_convolution_one_point_wide_is_linear_where_its_name_says_what_for_and_takes_adapters_of_convolutions() -> (
    None
):
    parts = parts_of("masked-lm/squeezebert")
    query = parts["transformer.encoder.layers.0.attention.query"]
    assert (query.kind, query.feature_axis) == ("convolution", 1)
    assert {"linear", "attention.query"} <= query.roles
    assert query.suits(("convolution",))
    assert not query.suits(("linear",))
    of_images = parts_of("image-text-to-text/chameleon")["model.vqmodel.encoder.mid.attn_1.q"]
    assert "attention.query" in of_images.roles
    assert "linear" not in of_images.roles


def test_a_norm_without_parameters_is_no_part() -> None:
    assert set(anatomy(nn.Sequential(nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 4))).parts) == {"", "1"}


def test_linear_maps_of_single_experts_are_experts_too() -> None:
    experts = [part for part in parts_of("seq2seq-lm/switch_transformers").values() if "expert" in part.roles]
    assert experts
    assert {part.kind for part in experts} == {"linear"}


# --- head -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "head"),
    [
        ("sequence-classification/bert", {"classifier"}),
        ("sequence-classification/t5", {"classification_head.dense", "classification_head.out_proj"}),
        ("audio-classification/wav2vec2", {"projector", "classifier"}),
        ("audio-classification/whisper", {"projector", "classifier"}),  # nothing sets its encoder apart
        ("image-classification/siglip", {"classifier"}),
        ("image-classification/perceiver", {"perceiver.decoder.decoder.final_layer"}),
        ("image-classification/resnet", {"classifier.1"}),
        ("causal-lm/llama", set()),
        ("seq2seq-lm/t5", set()),
    ],
)
def test_the_new_head_is_what_starts_untrained(key: str, head: set[str]) -> None:
    found = anatomy(made(key))
    assert {name.rpartition(".")[0] for name in found.head} == head
    assert all(found.parts[name].roles == {"head"} for name in head)


@pytest.mark.thorough
def test_every_classification_model_of_the_arena_has_a_new_head() -> None:
    without = {"image-classification/shieldgemma2"}  # a language model that answers yes or no
    for key, entry in ENTRIES.items():
        if "classification/" in key and key not in without:
            try:
                with torch.device("meta"):
                    model = entry.model_class(entry.config())
            except ImportError:
                continue  # needs a library that is not installed
            assert anatomy(model).head, key
