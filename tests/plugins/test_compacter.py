"""Compacter against its paper."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5Config, T5ForConditionalGeneration

import inarch
from inarch.errors import ConfigError
from inarch_plugins.compacter import kronecker_linear

from families import FAMILIES, logits, perturb


def t5_base() -> nn.Module:
    with torch.device("meta"):
        return T5ForConditionalGeneration(T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12))


@pytest.mark.parametrize(
    ("targets", "adapters", "share"),
    [(("SelfAttention.o", "wo"), 48, 0.073), (("wo",), 24, 0.047)],
    ids=["compacter", "compacter++"],
)
def test_t5_base_has_the_paper_s_parameters(targets: tuple[str, ...], adapters: int, share: float) -> None:
    """Table 1 of arXiv:2106.04647: 0.073% and 0.047% of T5-base, with n = 4, size 768 / 32, and the norms trained too.

    An adapter has k + d for the s and t of each of its two maps and as many biases; n^3 are shared by all of them.
    """
    method = inarch.method("compacter", targets=targets)
    model = t5_base()
    size, width = 768 // 32, 768
    assert inarch.plan(model, method).report().trainable == adapters * 3 * (size + width) + 4**3
    report = inarch.plan(model, method, train=("*layer_norm*",)).report()
    assert round(100 * report.trainable / report.base, 3) == share


def summed_products(A: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Equation 4 with equation 6, by ``torch.kron``."""
    return torch.stack([torch.kron(A[i], s[i] @ t[i]) for i in range(len(A))]).sum(0)


@pytest.mark.parametrize(("n", "rank", "columns", "rows"), [(2, 1, 6, 4), (4, 3, 8, 12), (1, 2, 5, 3), (3, 1, 3, 9)])
def test_the_large_matrix_is_never_needed(n: int, rank: int, columns: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    A, s, t, bias, x = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in [(n, n, n), (n, rows // n, rank), (n, rank, columns // n), (rows,), (2, 5, columns)]
    )
    expected = functional.linear(x, summed_products(A, s, t), bias)
    torch.testing.assert_close(kronecker_linear(x, A, s, t, bias), expected, rtol=0, atol=1e-12)


def own_matrices(adapter: inarch.Adapter, site: str, rule: Tensor) -> dict[str, Tensor]:
    own = {key.removeprefix(f"{site}."): value for key, value in adapter.named_parameters() if key.startswith(site)}
    return {
        "down": summed_products(rule, own["down_s"], own["down_t"]),
        "up": summed_products(rule, own["up_s"], own["up_t"]),
        **own,
    }


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_the_formula(activation: Any) -> None:
    """y' = y + U act(D y + b) + c, in float64, with D and U by ``torch.kron``; the second map shares the first's A."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 12)).double()
    adapter = inarch.attach(model, "compacter", n=2, bottleneck=6, rank=2, activation=activation)
    perturb(adapter)
    rule = dict(adapter.named_parameters())["0.rule"]
    function = {"relu": nn.ReLU(), "gelu": nn.GELU(), "silu": nn.SiLU(), "tanh": nn.Tanh()}[activation]
    x = torch.randn(3, 4, dtype=torch.float64)
    for site in ("0", "1"):
        own = own_matrices(adapter, site, rule)
        y = model[int(site)].forward(x)
        inner = function(functional.linear(y, own["down"], own["down_bias"]))
        expected = y + functional.linear(inner, own["up"], own["up_bias"])
        torch.testing.assert_close(model[int(site)](x), expected, rtol=0, atol=1e-12)
        x = expected


def test_after_a_convolution_it_is_two_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3)).double()
    adapter = inarch.attach(model, "compacter", n=2, bottleneck=4)
    perturb(adapter)
    own = own_matrices(adapter, "0", dict(adapter.named_parameters())["0.rule"])
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    y = model[0].forward(x)
    inner = functional.gelu(functional.conv2d(y, own["down"][..., None, None], own["down_bias"]))
    expected = y + functional.conv2d(inner, own["up"][..., None, None], own["up_bias"])
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


def test_d_starts_with_the_variance_of_an_ordinary_map() -> None:
    """Entries of D have mean 0 and variance 1 / features; those of U are 0."""
    torch.manual_seed(0)
    n, features = 8, 512
    adapter = inarch.attach(nn.Sequential(nn.Linear(4, features)), "compacter", n=n, bottleneck=256, rank=8)
    own = own_matrices(adapter, "0", dict(adapter.named_parameters())["0.rule"])
    assert (
        abs(own["down"].var().item() * features - 1) < 0.2
    )  # n^3 entries of A: a relative error of about 1 / sqrt(n^3)
    assert not own["up"].any()


def rules(model: nn.Module) -> list[str]:
    return [name for name, _ in inarch.adapters(model)["default"].named_parameters() if name.endswith("rule")]


def test_a_is_one_parameter_in_every_copy(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    model = family.model()
    adapter = inarch.attach(model, "compacter")
    perturb(adapter)
    answer = logits(model, family.batch())
    adapter.save(tmp_path / "adapter")
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = family.model()
    inarch.load(loaded, tmp_path / "adapter")
    for twin in (copy.deepcopy(model), torch.load(buffer, weights_only=False), loaded):
        assert torch.equal(logits(twin, family.batch()), answer)
        assert rules(twin) == ["model.layers.0.self_attn.o_proj.rule"]
        handle = inarch.adapters(twin)["default"]
        (owner,) = {id(module.owner[0]) for module in handle.modules.values()}  # type: ignore[union-attr,index]
        assert owner == id(handle.modules["model.layers.0.self_attn.o_proj"])
        with torch.no_grad():
            dict(handle.named_parameters())["model.layers.0.self_attn.o_proj.rule"].mul_(2)
        assert not torch.equal(logits(twin, family.batch()), answer)
        assert torch.equal(logits(model, family.batch()), answer)
    model.to(torch.float64).to(torch.float32)
    assert torch.equal(logits(model, family.batch()), answer)


def test_every_site_trains_a() -> None:
    """Its gradient is the sum of what each site alone would give."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)).double()
    adapter = inarch.attach(model, "compacter", n=2, bottleneck=4)
    perturb(adapter)
    x = torch.randn(3, 4, dtype=torch.float64)
    rule = dict(adapter.named_parameters())["0.rule"]
    first = model[0](x).detach()
    (whole,) = torch.autograd.grad(model[0](x).sum() + model[1](first).sum(), rule)
    (one,) = torch.autograd.grad(model[0](x).sum(), rule)
    (other,) = torch.autograd.grad(model[1](first).sum(), rule)
    assert one.any()
    assert other.any()
    torch.testing.assert_close(whole, one + other)


@pytest.mark.parametrize(
    ("features", "settings", "size"),
    [(64, {}, 4), (256, {}, 8), (300, {"n": 5}, 5), (768, {}, 24), (64, {"n": 2, "bottleneck": 10}, 10)],
)
def test_the_size_is_a_multiple_of_n(features: int, settings: dict[str, Any], size: int) -> None:
    adapter = inarch.attach(nn.Sequential(nn.Linear(2, features)), "compacter", **settings)
    assert dict(adapter.named_parameters())["0.down_bias"].shape == (size,)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 3}, "compacter.n is 3: model.layers.0.self_attn.o_proj has 32 features, and it must divide them"),
        ({"n": 0}, "compacter.n is 0"),
        ({"rank": 0}, "compacter.rank is 0"),
        ({"reduction_factor": 0}, "compacter.reduction_factor is 0"),
        ({"bottleneck": 6}, "compacter.bottleneck is 6: it must be a multiple of n, which is 4"),
        ({"bottleneck": 0}, "compacter.bottleneck is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    model = FAMILIES["llama"].model()
    with pytest.raises(ConfigError, match=said):
        inarch.attach(model, "compacter", **settings)
    assert inarch.adapters(model) == {}
