"""What the conformance kit does not hold of the methods: export, pickle, and settings other than the default ones."""

import io
from typing import Any

import pytest
import torch

import inarch
from inarch.testing import laws_of

from families import FAMILIES, logits, perturb
from sampled import one_of

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "houlsby": ("bottleneck", {}),
    "pfeiffer": ("bottleneck", {"placement": "pfeiffer", "layer_norm": True}),
    "parallel": ("bottleneck", {"placement": "parallel"}),
    "ia3": ("ia3", {}),
    "ln": ("ln", {}),
    "vera": ("vera", {"rank": 6}),
    "loreft": ("loreft", {}),
    "loreft-f1-l2": ("loreft", {"first": 1, "last": 2}),
    "compacter": ("compacter", {}),
}

test_parallel = laws_of(inarch.method("bottleneck", placement="parallel", bottleneck=4), models=["llama", "t5"])
test_positions = laws_of(inarch.method("loreft", first=1, last=2), models=["llama"])


@pytest.mark.parametrize("name", one_of(["llama", "bert"]))
@pytest.mark.parametrize("variant", one_of([*VARIANTS]))
def test_exports_and_survives_a_pickle(variant: str, name: str) -> None:
    family = FAMILIES[name]
    method, settings = VARIANTS[variant]
    model = family.model()
    perturb(inarch.attach(model, method, **settings))
    batch = {"input_ids": family.batch()["input_ids"]}
    plain: dict[str, Any] = {} if name == "bert" else {"use_cache": False}
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    program = torch.export.export(again, (), batch | plain, strict=False)  # untried: nothing was drawn or cached before
    torch.testing.assert_close(program.module()(**batch, **plain).logits, logits(model, batch))
    assert torch.equal(logits(again, batch), logits(model, batch))
