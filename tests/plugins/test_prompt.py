"""Prompt tuning against its paper."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import inarch
from inarch.errors import ConfigError, MergeError

from families import FAMILIES, Family, logits, perturb


@pytest.mark.parametrize(("width", "length", "parameters"), [(4096, 5, 20_480), (4096, 100, 409_600)])
def test_t5_xxl_has_the_paper_s_parameters(width: int, length: int, parameters: int) -> None:
    """Figure 2 of arXiv:2104.08691: 20,480 parameters a task for T5 XXL, "assuming a prompt length of 5 tokens"."""
    with torch.device("meta"):
        config = T5Config(vocab_size=64, d_model=width, d_kv=64, d_ff=64, num_layers=1, num_heads=2)
        model = T5ForConditionalGeneration(config)
    report = inarch.plan(model, "prompt", length=length).report()
    assert report.trainable == report.trainable_added == parameters


def test_starts_as_tokens_of_the_vocabulary() -> None:
    """Each vector is the embedding of one of the first ``common`` tokens; by a seed the same ones are drawn."""
    drawn = []
    for _ in range(2):
        model = FAMILIES["llama"].model()
        torch.manual_seed(3)
        adapter = inarch.attach(model, "prompt", length=12, common=8)
        vectors = adapter.modules[""].vectors.detach()
        table = model.get_input_embeddings().weight[:8]
        assert all((vector == table).all(1).any() for vector in vectors)
        assert len(vectors.unique(dim=0)) > 1
        drawn.append(vectors)
    assert torch.equal(*drawn)


def test_starts_uniform() -> None:
    torch.manual_seed(0)
    vectors = (
        inarch.attach(FAMILIES["llama"].model(), "prompt", length=500, initialisation="uniform").modules[""].vectors
    )
    assert vectors.abs().max() <= 0.5
    assert abs(vectors.std().item() - 1 / 12**0.5) < 0.01


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_trains_and_survives_a_file(name: str, tmp_path: Path) -> None:
    family: Family = FAMILIES[name]
    model = family.model()
    torch.manual_seed(1)
    adapter = inarch.attach(model, "prompt", length=4)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model(**family.batch()).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapter.save(tmp_path / "adapter")
    fresh = family.model()
    loaded = inarch.load(fresh, tmp_path / "adapter")
    assert loaded.method == adapter.method
    assert torch.equal(logits(fresh, family.batch()), logits(model, family.batch()))


def test_half_precision() -> None:
    family = FAMILIES["gpt2"]
    model = family.model().to(torch.bfloat16)
    adapter = inarch.attach(model, "prompt", length=4)
    assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
    perturb(adapter)
    result = model(**family.batch())
    assert result.logits.dtype == torch.bfloat16
    result.loss.backward()
    assert torch.isfinite(adapter.modules[""].vectors.grad).all()


def test_beside_another_method() -> None:
    family = FAMILIES["llama"]
    model = family.model()
    plain = logits(model, family.batch())
    prompt = inarch.attach(model, "prompt", length=4)
    alone = logits(model, family.batch())
    other = inarch.attach(model, "full", name="other", train_head=False)
    perturb(other, scale=0.01)
    with other.disabled():
        assert torch.equal(logits(model, family.batch()), alone)
    with prompt.disabled(), other.disabled():
        assert torch.equal(logits(model, family.batch()), plain)


def test_cannot_be_merged() -> None:
    with pytest.raises(MergeError, match="prompt cannot be merged"):
        inarch.attach(FAMILIES["llama"].model(), "prompt").merge()


@pytest.mark.parametrize("settings", [{"length": 0}, {"common": 0}, {"initialisation": "zero"}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        inarch.method("prompt", **settings)
