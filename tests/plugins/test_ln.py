"""Norm tuning against its paper, and against training the norms themselves."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM

import inarch
from inarch.errors import MergeError, TargetError

from architectures import ENTRIES, made
from families import FAMILIES, VOCABULARY, Family, logits, perturb


def test_llama_7b_has_the_paper_s_parameters() -> None:
    """Abstract of arXiv:2312.11420: 0.004% of a model of 7B: two norms of 4,096 in each of 32 layers, and the last."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig())  # the defaults are those of Llama 7B
    report = inarch.plan(model, "ln").report()
    assert report.trainable == (2 * 32 + 1) * 4096
    assert round(100 * report.trainable / report.base, 3) == 0.004


def test_it_reaches_the_functions_that_training_the_norms_reaches(family: Family) -> None:
    """Norms with other weights and biases are the norms as they are with g = weight' / weight, b = bias' - g bias."""
    torch.manual_seed(0)
    model, direct = family.model().double(), family.model().double()
    batch = {key: v.double() if v.is_floating_point() else v for key, v in family.batch().items()}
    adapter = inarch.attach(model, "ln", train_head=False)
    with torch.no_grad():
        for site in adapter.sites:
            norm: Any = direct.get_submodule(site.name)
            module: Any = adapter.modules[site.name]
            weight = norm.weight.clone()
            norm.weight.mul_(1 + 0.3 * torch.randn_like(weight))
            module.scale.copy_(norm.weight / weight)
            if module.shift is not None:
                bias = norm.bias.clone()
                norm.bias.add_(0.3 * torch.randn_like(bias))
                module.shift.copy_(norm.bias - module.scale * bias)
    assert not torch.allclose(logits(direct, batch), logits(family.model().double(), batch), atol=1e-3)
    torch.testing.assert_close(logits(model, batch), logits(direct, batch), rtol=1e-10, atol=1e-10)


def test_gradients_are_those_of_the_norms_at_the_start() -> None:
    """At weight 1 and bias 0, as norms start, g and b have the gradients of weight and bias themselves."""
    family = FAMILIES["bert"]
    tuned, direct = family.model(), family.model()
    adapter = inarch.attach(tuned, "ln", train_head=False)
    for model in (tuned, direct):
        model(**family.batch()).loss.backward()
    for site in adapter.sites:
        module: Any = adapter.modules[site.name]
        norm: Any = direct.get_submodule(site.name)
        torch.testing.assert_close(module.scale.grad, norm.weight.grad)
        torch.testing.assert_close(module.shift.grad, norm.bias.grad)


class ReversedNorm(nn.Module):
    """Divides by its weight: no scale of the output is a change of it that is known."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return x / self.weight


class TwoInputs(ReversedNorm):
    """Cannot be tried with one input."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:  # type: ignore[override]
        return x * self.weight * gate


class ShiftedNorm(ReversedNorm):
    """Multiplies by 1 + weight, as Gemma's norm does, but in the precision of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "layer": (nn.LayerNorm(6), (2, 5, 6)),
    "layer-without-bias": (nn.LayerNorm(6, bias=False), (2, 5, 6)),
    "rms": (nn.RMSNorm(6), (2, 5, 6)),
    "shifted": (ShiftedNorm(6), (2, 5, 6)),
    "group": (nn.GroupNorm(3, 6), (2, 6, 5, 7)),
    "batch-1d": (nn.BatchNorm1d(6), (4, 6)),
    "batch-1d-sequence": (nn.BatchNorm1d(6), (4, 6, 3)),
    "batch-2d": (nn.BatchNorm2d(6), (4, 6, 3, 2)),
    "batch-3d": (nn.BatchNorm3d(6), (4, 6, 3, 2, 2)),
}


def norm_model(name: str) -> tuple[nn.Module, Tensor]:
    """A norm in use for a while: with weights, biases and statistics of its own."""
    norm, shape = NORMS[name]
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(copy.deepcopy(norm)).double().eval()
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
            value.copy_(noise + (0.5 if "weight" in key or "var" in key else 0))
    return model, torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_is_scaled_along_its_features_and_merged(name: str) -> None:
    model, x = norm_model(name)
    plain = model(x)
    adapter = inarch.attach(model, "ln")
    perturb(adapter)
    own = {key.removeprefix("0."): value.detach() for key, value in adapter.named_parameters()}
    shape = (1, 6, *[1] * (x.dim() - 2)) if x.shape[1] == 6 else (6,)
    expected = plain * own["scale"].view(shape)
    if "shift" in own:
        expected = expected + own["shift"].view(shape)
    assert ("shift" in own) == (getattr(model[0], "bias", None) is not None)
    adapted = model(x)
    torch.testing.assert_close(adapted, expected, rtol=0, atol=1e-12)
    adapter.merge()
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-10)
    adapter.unmerge()
    assert torch.equal(model(x), adapted)
    adapter.detach()
    assert torch.equal(model(x), plain)


def test_gemma_merges_within_its_own_precision() -> None:
    """Gemma's norm multiplies by 1 + weight, and computes in float32 whatever it is given."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = GemmaForCausalLM(GemmaConfig(vocab_size=VOCABULARY, num_hidden_layers=2, head_dim=8, **sizes)).eval()
    batch = FAMILIES["llama"].batch()
    adapter = inarch.attach(model, "ln")
    perturb(adapter)
    adapted = logits(model, batch)
    norm = model.model.norm
    before = norm.weight.detach().clone()
    adapter.merge()
    scale = adapter.modules["model.norm"].scale.detach()  # type: ignore[union-attr,operator]
    torch.testing.assert_close(norm.weight, scale * (1 + before) - 1)
    torch.testing.assert_close(logits(model, batch), adapted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", [ReversedNorm(6), TwoInputs(6)], ids=["reversed", "two-inputs"])
def test_a_norm_that_uses_its_weight_otherwise_is_not_merged(norm: nn.Module) -> None:
    model = nn.Sequential(norm)
    adapter = inarch.attach(model, "ln")
    perturb(adapter)
    with pytest.raises(MergeError, match="its function at 0 is no change of the base weights"):
        adapter.merge()


def test_merging_leaves_statistics_generators_and_modes_alone() -> None:
    model, _ = norm_model("batch-2d")
    model.train()
    adapter = inarch.attach(model, "ln")
    perturb(adapter)
    before = {key: value.clone() for key, value in model[0].named_buffers()}
    torch.manual_seed(0)
    adapter.merge()
    drawn = torch.rand(2)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(2))
    assert model[0].training
    assert all(torch.equal(value, before[key]) for key, value in model[0].named_buffers())


def test_two_stack_and_merge_one_above_the_other() -> None:
    model, x = norm_model("layer")
    one, two = inarch.attach(model, "ln", name="one"), inarch.attach(model, "ln", name="two")
    perturb(one, seed=1)
    perturb(two, seed=2)
    adapted = model(x)
    one.merge()
    two.merge()
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-12)
    one.detach()
    two.unmerge()
    torch.testing.assert_close(model(x), adapted_alone(two, x), rtol=0, atol=1e-12)


def adapted_alone(adapter: inarch.Adapter, x: Tensor) -> Tensor:
    own = dict(adapter.named_parameters())
    plain: Tensor = adapter.sites[0].module.forward(x)  # type: ignore[operator]
    return plain * own["0.scale"] + own["0.shift"]


def test_a_model_without_norms_is_refused() -> None:
    with pytest.raises(TargetError, match='no part of this model has the role "@norm"'):
        inarch.attach(nn.Sequential(nn.Linear(2, 2)), "ln")


@pytest.mark.filterwarnings("ignore")  # transformers warns of sizes as small as these
@pytest.mark.parametrize("key", ["masked-lm/squeezebert", "image-classification/convnext"])
def test_norms_of_published_models_that_turn_the_axes_are_scaled_along_their_features_and_merged(key: str) -> None:
    model, batch = made(key).double(), ENTRIES[key].batch()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    plain = model(**batch).logits
    adapter = inarch.attach(model, "ln")
    torch.testing.assert_close(model(**batch).logits, plain, rtol=0, atol=0)
    perturb(adapter, scale=0.05)
    adapted = model(**batch).logits
    assert not torch.allclose(adapted, plain, atol=1e-6)
    adapter.merge()
    torch.testing.assert_close(model(**batch).logits, adapted, rtol=0, atol=1e-10)
