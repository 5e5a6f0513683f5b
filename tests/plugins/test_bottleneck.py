"""Bottleneck adapters against their papers."""

import copy
import gc
import io
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import inarch
from inarch.errors import ConfigError, ModelError

from families import FAMILIES, VOCABULARY, logits, perturb

ACTIVATIONS = {"relu": nn.ReLU(), "gelu": nn.GELU(), "silu": nn.SiLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}


def t5_base() -> nn.Module:
    with torch.device("meta"):
        return T5ForConditionalGeneration(T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12))


@pytest.mark.parametrize(("size", "digits", "share"), [(64, 1, 2.1), (2, 1, 0.1)])
def test_bert_large_has_houlsby_s_parameters(size: int, digits: int, share: float) -> None:
    """Section 2.1 of arXiv:1902.00751: an adapter has 2 m d + d + m parameters, and a layer has two.

    Table 1: with size 64 that is 2.1% of the layers' parameters; section 3.5: size 2 is 0.1%.
    """
    with torch.device("meta"):
        config = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
        model = BertModel(config)
    report = inarch.plan(model, "bottleneck", bottleneck=size).report()
    assert report.trainable == 24 * 2 * (2 * size * 1024 + 1024 + size)
    layers = sum(parameter.numel() for parameter in model.encoder.parameters())
    assert round(100 * report.trainable / layers, digits) == share


@pytest.mark.parametrize(
    ("width", "layers", "size", "millions"),
    [(1024, 24, 6, 0.37), (1024, 24, 224, 11.09), (1280, 36, 8, 0.88), (1280, 36, 248, 23.00)],
)
def test_gpt2_has_the_parameters_of_lora_s_comparison(width: int, layers: int, size: int, millions: float) -> None:
    """Table 3 of arXiv:2106.09685, Adapter^L: one adapter in a layer, after the feed-forward and a trained layer norm."""
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=width, n_layer=layers, n_head=width // 64))
    report = inarch.plan(model, "bottleneck", placement="pfeiffer", bottleneck=size, layer_norm=True).report()
    assert report.trainable == layers * (2 * width * size + size + width) + 2 * layers * width
    assert round(report.trainable / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("targets", "share"), [(("SelfAttention.o", "wo"), 0.832), (("wo",), 0.427)], ids=["houlsby", "pfeiffer"]
)
def test_t5_base_has_the_parameters_of_compacter_s_comparison(targets: tuple[str, ...], share: float) -> None:
    """Table 1 of arXiv:2106.04647: 0.832% and 0.427% of T5-base, at size 768 / 32, with the norms trained too."""
    model = t5_base()
    report = inarch.plan(
        model, inarch.method("bottleneck", targets=targets, reduction_factor=32), train=("*layer_norm*",)
    ).report()
    assert round(100 * report.trainable / report.base, 3) == share


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_formula(activation: Any, layer_norm: bool) -> None:
    """y' = y + s (U act(D LN(y) + b) + c), in float64 and by PyTorch's own layers."""
    model = nn.Sequential(nn.Linear(4, 6)).double()
    adapter = inarch.attach(model, "bottleneck", bottleneck=3, activation=activation, layer_norm=layer_norm, scale=0.5)
    perturb(adapter)
    own = {name.removeprefix("0."): value for name, value in adapter.named_parameters()}
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    y = model[0].forward(x)
    h = functional.layer_norm(y, (6,), own["norm"], own["norm_bias"]) if layer_norm else y
    inner = ACTIVATIONS[activation](h @ own["down"].T + own["down_bias"])
    torch.testing.assert_close(model(x), y + 0.5 * (inner @ own["up"].T + own["up_bias"]), rtol=0, atol=1e-12)


def test_after_a_convolution_it_is_two_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3)).double()
    adapter = inarch.attach(model, "bottleneck", bottleneck=2)
    perturb(adapter)
    own = {name.removeprefix("0."): value for name, value in adapter.named_parameters()}
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    y = model[0].forward(x)
    inner = functional.gelu(functional.conv2d(y, own["down"][..., None, None], own["down_bias"]))
    expected = y + functional.conv2d(inner, own["up"][..., None, None], own["up_bias"])
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


def test_the_size_follows_the_features() -> None:
    adapter = inarch.attach(nn.Sequential(nn.Linear(4, 40), nn.Linear(40, 3)), "bottleneck", reduction_factor=4)
    sizes = {name: value.shape[0] for name, value in adapter.named_parameters() if name.endswith(".down")}
    assert sizes == {"0.down": 10, "1.down": 1}


SITES = {
    ("llama", "houlsby"): ["self_attn.o_proj", "mlp.down_proj"],
    ("llama", "pfeiffer"): ["mlp.down_proj"],
    ("llama", "parallel"): ["mlp.up_proj", "mlp.down_proj"],
    ("bert", "houlsby"): ["attention.output.dense", "output.dense"],
    ("bert", "pfeiffer"): ["output.dense"],
    ("bert", "parallel"): ["intermediate.dense", "output.dense"],
}


@pytest.mark.parametrize(("name", "placement"), SITES)
def test_placements(name: str, placement: str) -> None:
    adapter = inarch.attach(FAMILIES[name].model(), "bottleneck", placement=placement)
    layer = {"llama": "model.layers.", "bert": "bert.encoder.layer."}[name]
    expected = [f"{layer}{index}.{site}" for index in (0, 1) for site in SITES[name, placement]]
    assert sorted(site.name for site in adapter.sites) == sorted(expected)


def test_targets_that_are_given_are_taken_as_they_are() -> None:
    adapter = inarch.attach(FAMILIES["llama"].model(), "bottleneck", targets=("q_proj",), placement="pfeiffer")
    assert {site.name.rsplit(".", 1)[-1] for site in adapter.sites} == {"q_proj"}


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_a_model_without_known_sublayers_is_adapted_everywhere(placement: str) -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    adapter = inarch.attach(model, "bottleneck", placement=placement)
    assert [site.name for site in adapter.sites] == ["0", "2", "4"]


def gated_t5() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    config = T5Config(
        vocab_size=VOCABULARY, decoder_start_token_id=0, feed_forward_proj="gated-gelu", dropout_rate=0.0, **sizes
    )
    return T5ForConditionalGeneration(config).eval()


def mixtral() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    return MixtralForCausalLM(
        MixtralConfig(vocab_size=VOCABULARY, num_hidden_layers=2, num_local_experts=4, **sizes)
    ).eval()


def mamba() -> nn.Module:
    torch.manual_seed(0)
    return MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=4, num_hidden_layers=2)
    ).eval()


FEED_FORWARDS = {
    "llama": (FAMILIES["llama"].model, "model.layers.1.mlp", "down_proj"),
    "gpt2": (FAMILIES["gpt2"].model, "transformer.h.1.mlp", "c_proj"),
    "t5-gated": (gated_t5, "decoder.block.1.layer.2.DenseReluDense", "wo"),
    "mixtral": (mixtral, "model.layers.1.mlp.experts", ""),
    "mamba": (mamba, "backbone.layers.1.mixer", "out_proj"),  # it has no feed-forward: its mixer is a sublayer
}


@pytest.mark.parametrize("name", FEED_FORWARDS)
def test_a_parallel_one_reads_the_input_of_the_feed_forward(name: str) -> None:
    """h <- f(x) + s U act(D x), as in table 1 of arXiv:2110.04366, for the module that holds the whole feed-forward."""
    make, path, last = FEED_FORWARDS[name]
    model = make()
    ids = torch.randint(3, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids} | ({"decoder_input_ids": ids} if name == "t5-gated" else {})
    adapter = inarch.attach(model, "bottleneck", placement="parallel", bottleneck=5, scale=4.0)
    perturb(adapter)
    site = f"{path}.{last}" if last else path
    own = {key.removeprefix(f"{site}."): value for key, value in adapter.named_parameters() if key.startswith(site)}
    seen: dict[str, Tensor] = {}

    def note(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen.update(x=args[0], y=output)

    def base(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen["base"] = output

    whole = model.get_submodule(path)
    end = model.get_submodule(site)
    handles = [end.register_forward_hook(base, prepend=True), whole.register_forward_hook(note)]
    logits(model, batch)
    for handle in handles:
        handle.remove()
    change = functional.gelu(seen["x"] @ own["down"].T + own["down_bias"]) @ own["up"].T + own["up_bias"]
    torch.testing.assert_close(seen["y"], seen["base"] + 4 * change)


def carried(model: nn.Module) -> list[Tensor | None]:
    modules = inarch.adapters(model)["default"].modules.values()
    return [module.passage.carried for module in modules if getattr(module, "passage", None) is not None]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_a_parallel_one_reads_is_let_go(checkpointing: bool) -> None:
    model = FAMILIES["llama"].model().train()
    perturb(inarch.attach(model, "bottleneck", placement="parallel"))
    if checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    seen: list[weakref.ref[Tensor]] = []
    tap = model.model.layers[0].mlp.up_proj
    handle = tap.register_forward_hook(lambda module, args, output: seen.append(weakref.ref(args[0])))
    loss = model(**FAMILIES["llama"].batch()).loss
    assert carried(model) == [None] * 4
    loss.backward()
    handle.remove()
    assert carried(model) == [None] * 4
    del loss
    gc.collect()
    assert len(seen) == 1 + checkpointing
    assert [reference() for reference in seen] == [None] * len(seen)


def test_an_interrupted_forward_does_not_spoil_a_copy() -> None:
    model = FAMILIES["llama"].model()
    perturb(inarch.attach(model, "bottleneck", placement="parallel"))
    batch = FAMILIES["llama"].batch()
    answer = logits(model, batch)

    def interrupt(module: nn.Module, args: Any, output: Any) -> None:
        raise KeyboardInterrupt

    handle = model.model.layers[1].mlp.up_proj.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(**batch)  # with gradients: what is carried is then no leaf, and cannot be copied
    handle.remove()
    assert any(tensor is not None for tensor in carried(model))
    twin = copy.deepcopy(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    assert carried(twin) == [None] * 4
    assert torch.equal(logits(twin, batch), answer)
    assert torch.equal(logits(model, batch), answer)


def test_a_copy_of_a_parallel_one_reads_its_own_input() -> None:
    family = FAMILIES["llama"]
    model = family.model()
    perturb(inarch.attach(model, "bottleneck", placement="parallel"))
    twin = copy.deepcopy(model)
    perturb(inarch.adapters(twin)["default"])
    one, other = inarch.adapters(model)["default"].modules, inarch.adapters(twin)["default"].modules
    passages = [module.passage for module in (*one.values(), *other.values())]  # type: ignore[union-attr]
    assert len({id(passage) for passage in passages}) == 4  # two blocks of two models, each shared by two sites
    assert not torch.equal(logits(model, family.batch()), logits(twin, family.batch()))


class Unusual(nn.Module):
    """A feed-forward that does not always call its first map."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 4)

    def forward(self, x: Tensor, inner: Tensor | None = None) -> Tensor:
        result: Tensor = self.fc2(self.fc1(x).relu() if inner is None else inner)
        return result


def test_a_first_map_that_is_not_called_is_said() -> None:
    model = Unusual()
    inarch.attach(model, "bottleneck", placement="parallel")
    x, inner = torch.randn(2, 4), torch.randn(2, 6)
    model(x)
    with pytest.raises(ModelError, match="without calling its first"):
        model(x, inner)


class Pair(nn.Module):
    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Linear(4, 4)), "no target is the last map of a feed-forward"),
        (Pair("fc2", "o_proj"), "fc2 needs one first map .* and has none"),
        (Pair("fc1", "up_proj", "fc2"), "fc2 needs one first map .* and has fc1 and up_proj"),
        (Pair("fc1", "down_proj", "fc2"), "fc1 begins several feed-forwards"),
    ],
    ids=["none", "no-first", "two-firsts", "two-lasts"],
)
def test_blocks_that_cannot_be_paired_are_refused(model: nn.Module, said: str) -> None:
    with pytest.raises(ConfigError, match=f"bottleneck.placement is 'parallel': {said}"):
        inarch.attach(model, "bottleneck", placement="parallel")
    assert inarch.adapters(model) == {}


@pytest.mark.parametrize("settings", [{"reduction_factor": 0}, {"bottleneck": 0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        inarch.method("bottleneck", **settings)
