from dataclasses import dataclass

import pytest
import torch
from torch import nn

import inarch
from inarch import OutputAdapter, Site, WeightDelta
from inarch.errors import (
    DetachedError,
    FormatError,
    MergeError,
)

from families import FAMILIES, logits, perturb, snapshot
from scaling import Scale, Scaling

LLAMA = FAMILIES["llama"]


def test_merging_for_good_leaves_a_plain_model() -> None:
    model = FAMILIES["bert"].model()
    plain = snapshot(model)
    batch = FAMILIES["bert"].batch()
    adapter = inarch.attach(model, "lora")
    perturb(adapter)
    answer = logits(model, batch)
    adapter.merge(keep_base=False)
    torch.testing.assert_close(logits(model, batch), answer, rtol=0, atol=1e-5)
    after = snapshot(model)
    for what in ("requires_grad", "modules", "hooks", "attributes"):
        assert after[what] == plain[what]
    with pytest.raises(DetachedError):
        adapter.unmerge()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_merge_rounds_once_and_unmerge_restores(dtype: torch.dtype) -> None:
    model = LLAMA.model().to(dtype)
    weight = model.model.layers[0].self_attn.q_proj.weight
    before = weight.detach().clone()
    adapter = inarch.attach(model, "lora", targets=("q_proj",))
    perturb(adapter)
    tensors = adapter.tensors()
    a, b = (tensors[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{x}.weight"] for x in "AB")
    adapter.merge()
    a, b, scale, rank = a.double(), b.double(), 2.0, 8
    exact = before.double() + scale * (b @ a)
    merged = model.model.layers[0].self_attn.q_proj.weight
    # Half a unit in the last place of the stored dtype, and what a float32 dot product of `rank` terms can be off by.
    rounding = torch.finfo(dtype).eps / 2 * exact.abs()
    product = torch.finfo(torch.float32).eps * (rank + 2) * (scale * (b.abs() @ a.abs()) + before.double().abs())
    tiny = torch.finfo(dtype).smallest_normal
    assert ((merged.double() - exact).abs() <= rounding + product + tiny).all()
    adapter.unmerge()
    assert model.model.layers[0].self_attn.q_proj.weight is weight
    assert torch.equal(weight, before)


def test_merges_that_cannot_be_are_refused() -> None:
    model = LLAMA.model()
    scale = inarch.attach(model, Scale())
    with pytest.raises(MergeError, match="no change of the base weights"):
        scale.merge()
    with pytest.raises(MergeError, match="is not merged"):
        scale.unmerge()
    scale.detach()
    lora = inarch.attach(model, "lora")
    lora.enabled = False
    with pytest.raises(MergeError, match="enable it"):
        lora.merge()
    lora.enabled = True
    other = inarch.attach(model, "lora", name="other")
    with pytest.raises(MergeError, match="needed by other"):
        lora.merge(keep_base=False)
    other.detach()
    lora.merge()
    with pytest.raises(MergeError, match="merged already"):
        lora.merge()
    lora.unmerge()
    with torch.no_grad():
        next(lora.parameters()).fill_(float("nan"))
    with pytest.raises(MergeError, match="NaN"):
        lora.merge()
    assert not lora.merged


def test_a_tied_weight_is_not_merged() -> None:
    model = FAMILIES["gpt2"].model()
    adapter = inarch.attach(model, "lora", targets=("lm_head",))
    with pytest.raises(MergeError, match=r"transformer.wte.weight and lm_head.weight are one tied weight"):
        adapter.merge()


def test_a_bias_that_is_trained_itself_is_not_merged() -> None:
    adapter = inarch.attach(FAMILIES["bert"].model(), "bitfit", train=("bert.pooler.dense.bias",))
    with pytest.raises(MergeError, match="trained itself as well"):
        adapter.merge()


def test_packed_weights_are_refused_before_merging_can_destroy_them() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    adapter = inarch.attach(model, "lora", rank=2)
    with pytest.raises(FormatError, match="uint8"):
        adapter.merge()
    adapter.detach()
    with pytest.raises(FormatError, match="cannot be trained itself"):
        inarch.attach(model, "full")


def test_a_delta_for_a_bias_that_is_not_there_is_refused() -> None:
    class BiasDelta(Scaling):
        def delta(self) -> WeightDelta:
            return WeightDelta(bias=torch.zeros(1))

    @dataclass(frozen=True, kw_only=True)
    class Biased(Scale):
        """Adds to a bias that Llama does not have."""

        def build(self, site: Site) -> OutputAdapter:
            return BiasDelta()

    adapter = inarch.attach(LLAMA.model(), Biased())
    with pytest.raises(MergeError, match="has no bias to add to"):
        adapter.merge()
