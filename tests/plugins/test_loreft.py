"""LoReFT against its paper."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaModel

import inarch
from inarch.errors import ConfigError, MergeError
from inarch_plugins.loreft import Intervention, orthonormal

from families import FAMILIES, Family, logits, perturb


def llama(width: int, inner: int, layers: int) -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(hidden_size=width, intermediate_size=inner, num_hidden_layers=layers))


def roberta(width: int, inner: int, layers: int) -> nn.Module:
    sizes = {"hidden_size": width, "intermediate_size": inner, "num_attention_heads": width // 64}
    config = RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, num_hidden_layers=layers, **sizes
    )
    return RobertaModel(config)


@pytest.mark.parametrize(
    ("make", "sizes", "rank", "share"),
    [
        (llama, (4096, 11008, 32), 8, 0.031),
        (llama, (5120, 13824, 40), 8, 0.025),
        (roberta, (768, 3072, 12), 1, 0.015),
        (roberta, (1024, 4096, 24), 1, 0.014),
    ],
    ids=["llama-7b", "llama-13b", "roberta-base", "roberta-large"],
)
def test_models_have_the_paper_s_parameters(make: Any, sizes: tuple[int, int, int], rank: int, share: float) -> None:
    """Tables 1 and 4 of arXiv:2404.03592, in per cent: R and W, (rank, width) each, and b, after every layer."""
    with torch.device("meta"):
        model = make(*sizes)
    width, _, layers = sizes
    report = inarch.plan(model, "loreft", rank=rank).report()
    assert report.trainable == layers * (2 * rank * width + rank)
    assert round(100 * report.trainable / report.base, 3) == share


def gram_schmidt(rows: Tensor) -> Tensor:
    """One row after the other, less its shadows on those before."""
    found: list[Tensor] = []
    for row in rows:
        for before in found:
            row = row - (row @ before) * before
        found.append(row / row.norm())
    return torch.stack(found)


def test_the_rows_are_those_of_gram_and_schmidt() -> None:
    rows = torch.randn(4, 7, dtype=torch.float64)
    torch.testing.assert_close(orthonormal(rows), gram_schmidt(rows))
    torch.testing.assert_close(orthonormal(orthonormal(rows)), orthonormal(rows))


def test_the_formula() -> None:
    """h' = h + R^T (W h + b - R h) after each block, in float64 and written out."""
    family = FAMILIES["llama"]
    model = family.model().double()
    block = model.model.layers[0]
    outputs: list[Tensor] = []
    handle = block.register_forward_hook(lambda module, args, output: outputs.append(output))
    adapter = inarch.attach(model, "loreft", rank=3, layers=(0,))
    perturb(adapter, scale=0.5)
    second = block.register_forward_hook(lambda module, args, output: outputs.append(output))
    logits(model, family.batch())
    handle.remove()
    second.remove()
    h, changed = outputs
    own = {name.rsplit(".", 1)[-1]: value.detach() for name, value in adapter.named_parameters()}
    R = gram_schmidt(own["rotation"])
    expected = h + (h @ own["weight"].T + own["bias"] - h @ R.T) @ R
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(changed, h, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_starts_from_the_base_with_w_at_r(dtype: torch.dtype) -> None:
    family = FAMILIES["llama"]
    model = family.model().to(dtype)
    plain = logits(model, family.batch())
    adapter = inarch.attach(model, "loreft", rank=5)
    assert torch.equal(logits(model, family.batch()), plain)
    for module in adapter.modules.values():
        assert isinstance(module, Intervention)
        assert torch.equal(module.weight, orthonormal(module.rotation))


def test_r_stays_orthonormal_in_training(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    model = family.model()
    adapter = inarch.attach(model, "loreft", rank=4)
    start = {name: value.detach().clone() for name, value in adapter.named_parameters()}
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.05)
    for _ in range(5):
        model(**family.batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(not torch.equal(value, start[name]) for name, value in adapter.named_parameters())
    adapter.save(tmp_path / "adapter")
    twin = family.model()
    for handle in (adapter, inarch.load(twin, tmp_path / "adapter"), inarch.adapters(copy.deepcopy(model))["default"]):
        for module in handle.modules.values():
            assert isinstance(module, Intervention)
            R = orthonormal(module.rotation)
            assert not torch.allclose(module.rotation @ module.rotation.T, torch.eye(4), atol=1e-3)
            torch.testing.assert_close(R @ R.T, torch.eye(4), rtol=0, atol=1e-6)
    assert torch.equal(logits(twin, family.batch()), logits(model, family.batch()))


def test_gradients_are_those_of_finite_differences() -> None:
    site = inarch.Site(name="0", module=nn.Identity(), kind="block", roles=frozenset(), in_features=5, out_features=5)
    module = Intervention(site, rank=2, first=1, last=1).double()
    perturb(module)
    h = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in module.named_parameters()]

    def function(h: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (h, h))

    assert torch.autograd.gradcheck(function, (h, *(value.detach().requires_grad_() for value in module.parameters())))


@pytest.mark.parametrize(
    ("first", "last", "length", "positions"),
    [
        (0, 0, 6, {0, 1, 2, 3, 4, 5}),
        (2, 0, 6, {0, 1}),
        (0, 1, 6, {5}),
        (2, 3, 6, {0, 1, 3, 4, 5}),
        (3, 3, 6, {0, 1, 2, 3, 4, 5}),
        (7, 7, 6, {0, 1, 2, 3, 4, 5}),
        (7, 7, 1, set()),
        (0, 0, 1, {0}),
    ],
)
def test_positions(first: int, last: int, length: int, positions: set[int]) -> None:
    site = inarch.Site(name="0", module=nn.Identity(), kind="block", roles=frozenset(), in_features=8, out_features=8)
    module = Intervention(site, rank=2, first=first, last=last)
    everywhere = copy.deepcopy(module)
    everywhere.first = everywhere.last = 0
    perturb(module)
    perturb(everywhere)
    h = torch.randn(2, length, 8)
    changed = module(h, h)
    assert {index for index in range(length) if not torch.equal(changed[:, index], h[:, index])} == positions
    chosen = sorted(positions)
    torch.testing.assert_close(changed[:, chosen], everywhere(h, h)[:, chosen])


@pytest.mark.parametrize("settings", [{}, {"first": 2}])
def test_generation_is_the_same_with_and_without_a_cache(settings: dict[str, int]) -> None:
    """Both settings change the same positions of the same sequence, seen whole or token by token."""
    model = FAMILIES["llama"].model()
    prompt = FAMILIES["llama"].batch()["input_ids"]
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    plain = model.generate(prompt, **options)
    perturb(inarch.attach(model, "loreft", **settings), seed=3, scale=0.5)
    cached = model.generate(prompt, **options)
    assert torch.equal(cached, model.generate(prompt, use_cache=False, **options))
    assert not torch.equal(cached, plain)


def test_steps_of_generation_are_left_alone() -> None:
    """With f1+l1 a call with one token and a cache is the base's, given what the prompt left in the cache."""
    model = FAMILIES["llama"].model()
    prompt = FAMILIES["llama"].batch()["input_ids"]
    adapter = inarch.attach(model, "loreft", first=1, last=1)
    perturb(adapter, scale=0.5)
    with torch.no_grad():
        cache = model(prompt, use_cache=True).past_key_values
        twin = copy.deepcopy(cache)
        token = prompt[:, :1]
        adapted = model(token, past_key_values=cache).logits
        with adapter.disabled():
            plain = model(token, past_key_values=twin).logits
            bare = model(token, past_key_values=model(prompt, use_cache=True).past_key_values).logits
    assert torch.equal(adapted, plain)
    assert not torch.allclose(adapted, bare, atol=1e-3)


def test_layers_are_numbered_as_in_their_names(tmp_path: Path) -> None:
    family = FAMILIES["t5"]
    model = family.model()
    adapter = inarch.attach(model, "loreft", layers=(1,))
    assert [site.name for site in adapter.sites] == ["encoder.block.1", "decoder.block.1"]
    perturb(adapter)
    adapter.save(tmp_path / "adapter")
    again = family.model()
    assert inarch.load(again, tmp_path / "adapter").sites == adapter.sites
    assert torch.equal(logits(again, family.batch()), logits(model, family.batch()))


def test_images_have_no_first_and_last() -> None:
    """Hidden states of convolutions have their features on axis 1: all positions or none."""
    site = inarch.Site(
        name="0", module=nn.Identity(), kind="block", roles=frozenset(), in_features=8, out_features=8, feature_axis=1
    )
    module = inarch.method("loreft", rank=2).build(site)
    assert isinstance(module, Intervention)
    perturb(module)
    image = torch.randn(2, 8, 3, 5)
    rows = image.permute(0, 2, 3, 1).reshape(2, 15, 8)
    flat = copy.deepcopy(module)
    flat.features_first = False
    torch.testing.assert_close(module(image, image).permute(0, 2, 3, 1).reshape(2, 15, 8), flat(rows, rows))
    with pytest.raises(ConfigError, match=r"loreft.last is 1: 0 gives an image"):
        inarch.method("loreft", rank=2, last=1).build(site)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "loreft.rank is 0"),
        ({"first": -1}, "loreft.first is -1"),
        ({"last": -1}, "loreft.last is -1"),
        ({"rank": 33}, "32 features, so a rank is at most that"),
        ({"layers": [1, 2, 9]}, "no block has the number 2, 9"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    model = FAMILIES["llama"].model()
    with pytest.raises(ConfigError, match=said):
        inarch.attach(model, "loreft", **settings)
    assert inarch.adapters(model) == {}


def test_it_cannot_be_merged(family: Family) -> None:
    adapter = inarch.attach(family.model(), "loreft")
    with pytest.raises(MergeError, match="no change of the base weights"):
        adapter.merge()
