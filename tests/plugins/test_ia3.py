"""(IA)3 against its paper and against peft."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

import inarch
from inarch.errors import MergeError

from families import FAMILIES, Family, logits, perturb

PEFT_TARGETS = {
    "llama": (["k_proj", "v_proj", "down_proj"], ["down_proj"]),
    "gpt2": (["c_attn", "mlp.c_proj"], ["mlp.c_proj"]),
    "t5": (["k", "v", "wo"], ["wo"]),
    "vit": (["k_proj", "v_proj", "fc2"], ["fc2"]),
}


def with_peft(family: Family, targets: list[str], feedforward: list[str]) -> nn.Module:
    """A model with peft's (IA)3 of random vectors."""
    config = peft.IA3Config(target_modules=targets, feedforward_modules=feedforward)
    with warnings.catch_warnings():
        # peft warns of the layout of Conv1D weights, which it then sets right, and is warned of by transformers.
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(family.model(), config).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "ia3_l" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return adapted


def t5(size: str) -> T5ForConditionalGeneration:
    sizes = {
        "3b": {"d_model": 2048, "d_ff": 5120, "num_heads": 32},
        "11b": {"d_model": 4096, "d_ff": 10240, "num_heads": 64},
    }
    config = T5Config(
        vocab_size=32128,
        d_kv=64,
        num_layers=24,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        **sizes[size],
    )
    with torch.device("meta"):
        return T5ForConditionalGeneration(config)


@pytest.mark.parametrize(("size", "width", "inner"), [("3b", 2048, 5120), ("11b", 4096, 10240)])
def test_t0_has_the_paper_s_parameters(size: str, width: int, inner: int) -> None:
    """Section 3.3 of arXiv:2205.05638: d_k + d_v + d_ff for a layer of the encoder, 2 d_k + 2 d_v + d_ff of the decoder.

    That is 540,672 for T0-3B, and 0.01% of T0-11B.
    """
    report = inarch.plan(t5(size), "ia3").report()
    assert report.trainable_added == 24 * (2 * width + inner) + 24 * (4 * width + inner)
    if size == "3b":
        assert report.trainable_added == 540_672
    else:
        assert round(100 * report.trainable_added / report.base, 2) == 0.01


@pytest.mark.parametrize("name", PEFT_TARGETS)
def test_inarch_reads_what_peft_writes(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    theirs = with_peft(family, *PEFT_TARGETS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(tmp_path / "adapter")
    ours = family.model()
    adapter = inarch.load(ours, tmp_path / "adapter")
    assert adapter.method.name == "ia3"
    answer = logits(theirs, family.batch())
    assert not torch.allclose(answer, logits(family.model(), family.batch()), atol=1e-3)
    torch.testing.assert_close(logits(ours, family.batch()), answer, rtol=0, atol=1e-6)
    adapter.save(tmp_path / "again")
    from safetensors.torch import load_file

    one, other = (load_file(tmp_path / folder / "adapter_model.safetensors") for folder in ("adapter", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_peft_reads_what_inarch_writes(family: Family, tmp_path: Path) -> None:
    model = family.model()
    perturb(inarch.attach(model, "ia3"))
    inarch.adapters(model)["default"].save(tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.PeftModel.from_pretrained(family.model(), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(theirs, family.batch()), logits(model, family.batch()), rtol=0, atol=1e-6)


def test_input_and_output_are_told_apart_as_peft_does(tmp_path: Path) -> None:
    """peft's defaults for BERT name "output.dense", which is the end of two modules in each layer."""
    family = FAMILIES["bert"]
    theirs = with_peft(family, ["key", "value", "output.dense"], ["output.dense"])
    theirs.save_pretrained(tmp_path / "adapter")
    ours = family.model()
    inarch.load(ours, tmp_path / "adapter")
    torch.testing.assert_close(logits(ours, family.batch()), logits(theirs, family.batch()), rtol=0, atol=1e-6)


def test_peft_and_inarch_exchange_the_scaled_input_of_a_convolution(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base, x = nn.Sequential(nn.Conv2d(4, 6, 3)), torch.randn(2, 4, 8, 8)
    model = copy.deepcopy(base)
    adapter = inarch.attach(model, "ia3", targets=("0",), feedforward=("0",))
    perturb(adapter)
    adapter.save(tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "ours")
    torch.testing.assert_close(model(x), theirs(x))
    theirs.save_pretrained(tmp_path / "theirs")
    again = copy.deepcopy(base)
    inarch.load(again, tmp_path / "theirs")
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(("module", "known"), [(nn.Conv2d(2, 4, 3), True), (nn.Conv1d(2, 4, 3), False)])
def test_what_peft_does_not_know_is_saved_in_our_own_format(module: nn.Module, known: bool, tmp_path: Path) -> None:
    model = nn.Sequential(module)
    adapter = inarch.attach(model, "ia3")
    perturb(adapter)
    adapter.save(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert ("peft_type" in config) == known
    x = torch.randn(1, 2, *[5] * (module.weight.dim() - 2))
    answer = model(x)
    adapter.detach()
    inarch.load(model, tmp_path / "adapter")
    assert torch.equal(model(x), answer)
    if known:
        adapter = inarch.adapters(model)["default"]
        adapter.detach()
        theirs = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
        torch.testing.assert_close(theirs(x), answer)


def test_the_config_is_what_peft_expects(tmp_path: Path) -> None:
    inarch.attach(FAMILIES["t5"].model(), "ia3").save(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "IA3"
    assert {name.rsplit(".", 1)[-1] for name in config["feedforward_modules"]} == {"wo"}
    assert {name.rsplit(".", 1)[-1] for name in config["target_modules"]} == {"k", "v", "wo"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        peft.IA3Config.from_pretrained(tmp_path / "adapter")


CONVOLUTIONS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "plain": (nn.Conv2d(4, 6, 3), (2, 4, 8, 8)),
    "grouped": (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 8)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, bias=False), (2, 4, 8, 8)),
    "transposed-grouped": (nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 8)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_outputs_of_convolutions_are_scaled_and_merged(kind: str) -> None:
    """A model without attention: each output channel is scaled."""
    module, shape = CONVOLUTIONS[kind]
    model = nn.Sequential(module).double()
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    plain = model(x)
    adapter = inarch.attach(model, "ia3")
    perturb(adapter)
    (factors,) = adapter.parameters()
    assert factors.numel() == 6
    adapted = model(x)
    torch.testing.assert_close(
        adapted, plain * factors.detach().view(1, 6, *[1] * (len(shape) - 2)), rtol=0, atol=1e-12
    )
    adapter.merge()
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-12)
    adapter.detach()
    assert torch.equal(model(x), plain)


def test_a_fused_projection_is_scaled_as_a_whole() -> None:
    adapter = inarch.attach(FAMILIES["gpt2"].model(), "ia3", targets=("c_attn",))
    assert [tuple(parameter.shape) for parameter in adapter.parameters()] == [(96, 1), (96, 1)]


def test_small_changes_reach_a_model_in_half_precision() -> None:
    """Cast to bfloat16 first, a factor this near to 1 would be 1 and change nothing."""
    model = nn.Sequential(nn.Linear(512, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(1 + torch.arange(512) % 128 / 128)  # every value of a bfloat16 significand
    x = torch.eye(512, dtype=torch.bfloat16)
    model.to(torch.bfloat16)
    plain = model(x)
    adapter = inarch.attach(model, "ia3")
    with torch.no_grad():
        next(adapter.parameters()).fill_(1 + 0.9 * 2**-8)
    assert next(adapter.parameters()).bfloat16() == 1
    assert not torch.equal(model(x), plain)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_inputs_of_convolutions_are_scaled_and_merged(kind: str) -> None:
    module, shape = CONVOLUTIONS[kind]
    model = nn.Sequential(module).double()
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    adapter = inarch.attach(model, "ia3", targets=("0",), feedforward=("0",))
    perturb(adapter)
    (factors,) = adapter.parameters()
    assert factors.shape == (1, 4, *[1] * (len(shape) - 2))
    adapted = model(x)
    with adapter.disabled():
        torch.testing.assert_close(adapted, model(x * factors.detach()), rtol=0, atol=1e-12)
    adapter.merge()
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-12)
    adapter.detach()


class Standardised(nn.Conv2d):
    """What it multiplies by is made from its weight, which a factor on the weight would not change."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight / self.weight.norm(), self.bias)


class Padded(nn.Conv2d):
    """It multiplies by its weight as it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (1, 0, 1, 0)))


@pytest.mark.parametrize("feedforward", [(), ("0",)])
def test_a_convolution_with_a_forward_of_its_own_is_merged_where_that_is_exact(feedforward: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, 8)
    model = nn.Sequential(Standardised(4, 6, 3))
    adapter = inarch.attach(model, "ia3", targets=("0",), feedforward=feedforward)
    perturb(adapter)
    assert not torch.equal(model(x), model[0](x * 0))
    with pytest.raises(MergeError, match="no change of the base weights"):
        adapter.merge()
    padded = nn.Sequential(Padded(4, 6, 3))
    adapter = inarch.attach(padded, "ia3", targets=("0",), feedforward=feedforward)
    perturb(adapter)
    adapted = padded(x)
    adapter.merge()
    torch.testing.assert_close(padded(x), adapted)


@pytest.mark.parametrize("settings", [{}, {"feedforward": ("v_proj",)}, {"feedforward": ("*.0.*",)}])
def test_merging_equals_the_adapter(settings: dict[str, Any]) -> None:
    family = FAMILIES["llama"]
    model = family.model().double()
    adapter = inarch.attach(model, "ia3", **settings)
    perturb(adapter)
    adapted = logits(model, family.batch())
    adapter.merge()
    torch.testing.assert_close(logits(model, family.batch()), adapted, rtol=0, atol=1e-10)
