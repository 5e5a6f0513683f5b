"""VeRA against its paper and against peft."""

import copy
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import RobertaConfig, RobertaModel

import inarch
from inarch.errors import CheckpointError, ConfigError

from families import FAMILIES, Family, logits, perturb

PEFT_TARGETS = {"llama": ["q_proj", "v_proj", "down_proj"], "gpt2": ["c_attn", "c_fc"], "t5": ["q", "wi", "o"]}


def with_peft(family: Family) -> nn.Module:
    """A model with peft's VeRA of random vectors; its maps differ in shape."""
    settings = {
        "r": 12,
        "target_modules": PEFT_TARGETS[family.name],
        "projection_prng_key": 5,
        "save_projection": False,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about projections that are not saved, and the layout of Conv1D weights
        config = peft.VeraConfig(**settings)
        adapted = peft.get_peft_model(family.model(), config).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "vera_lambda" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return adapted


def save_with_peft(model: Any, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)


def test_roberta_base_has_the_paper_s_parameters() -> None:
    """Table 2 of arXiv:2310.11454: 0.043M at rank 1024 on query and value of 12 layers of width 768."""
    with torch.device("meta"):
        model = RobertaModel(RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1))
    report = inarch.plan(model, "vera", rank=1024, targets=("query", "value")).report()
    assert report.trainable == 12 * 2 * (768 + 1024) == 43_008


def test_roberta_large_has_the_paper_s_parameters() -> None:
    """Table 2: 0.061M at rank 256 on query and value of 24 layers of width 1024."""
    with torch.device("meta"):
        config = RobertaConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
        model = RobertaModel(config)
    report = inarch.plan(model, "vera", rank=256, targets=("query", "value")).report()
    assert report.trainable == 24 * 2 * (1024 + 256) == 61_440


@pytest.mark.parametrize("name", PEFT_TARGETS)
def test_inarch_reads_what_peft_writes(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    theirs = with_peft(family)
    save_with_peft(theirs, tmp_path / "adapter")
    ours = family.model()
    adapter = inarch.load(ours, tmp_path / "adapter")
    assert adapter.method.name == "vera"
    assert not torch.allclose(logits(ours, family.batch()), logits(family.model(), family.batch()), atol=1e-3)
    ours, theirs = ours.double(), theirs.double()
    torch.testing.assert_close(logits(ours, family.batch()), logits(theirs, family.batch()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PEFT_TARGETS)
def test_peft_reads_what_inarch_writes(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    ours = family.model()
    adapter = inarch.attach(ours, "vera", rank=6, seed=3)
    perturb(adapter)
    adapter.save(tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.PeftModel.from_pretrained(family.model(), tmp_path / "adapter").eval()
    ours, theirs = ours.double(), theirs.double()
    torch.testing.assert_close(logits(ours, family.batch()), logits(theirs, family.batch()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("option", [{"save_projection": True}, {"bias": "all"}])
def test_options_of_peft_that_it_does_not_have_are_refused(option: dict[str, Any]) -> None:
    peft_format = inarch.method("vera").peft
    assert peft_format is not None
    with pytest.raises(CheckpointError, match=f"peft's {next(iter(option))}="):
        peft_format.method({"r": 4, "save_projection": False, **option}, {})


def projections(model: nn.Module) -> set[tuple[int, int]]:
    """Where the projections of a model lie in memory."""
    modules = inarch.adapters(model)["default"].modules.values()
    pairs = [module.projections.on(torch.device("cpu")) for module in modules]  # type: ignore[union-attr,operator]
    return {(A.data_ptr(), B.data_ptr()) for A, B in pairs}


def test_projections_are_shared_by_all_sites_and_copies() -> None:
    family = FAMILIES["llama"]
    model = family.model()
    perturb(inarch.attach(model, "vera", rank=6))
    answer, own = logits(model, family.batch()), projections(model)
    assert len(own) == 1
    assert projections(copy.deepcopy(model)) == own
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    assert len(projections(again)) == 1
    assert torch.equal(logits(again, family.batch()), answer)
    model.to(torch.float64).to(torch.float32)
    assert projections(model) == own
    assert torch.equal(logits(model, family.batch()), answer)


def test_projections_are_in_no_file_and_no_pickle(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 8))
    small, large = (pickled(copy.deepcopy(model), rank) for rank in (4, 1024))
    assert large - small < 2 * 1020 * 4 + 1000  # the longer d of two sites; A and B would be 150 times that
    adapter = inarch.attach(model, "vera", rank=1024)
    adapter.save(tmp_path / "adapter")
    assert {tuple(tensor.shape) for tensor in adapter.tensors().values()} == {(1024,), (16,), (8,)}
    assert not [name for name in model.state_dict() if "projection" in name]
    other = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 8))
    other.load_state_dict(model.state_dict(), strict=False)


def pickled(model: nn.Module, rank: int) -> int:
    """Bytes of a model pickled with its adapter."""
    inarch.attach(model, "vera", rank=rank)
    return len(pickle.dumps(model))


def test_the_seed_decides_the_projections() -> None:
    answers = []
    for seed in (0, 0, 1):
        model = FAMILIES["llama"].model()
        torch.manual_seed(len(answers))
        perturb(inarch.attach(model, "vera", rank=6, seed=seed))
        answers.append(logits(model, FAMILIES["llama"].batch()))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_attaching_draws_nothing_from_the_global_generator() -> None:
    model = FAMILIES["llama"].model()
    torch.manual_seed(0)
    inarch.attach(model, "vera", rank=6)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), drawn)


def test_the_formula_and_its_start() -> None:
    """h = W x + diag(b) B diag(d) A x, in float64 and written out; d starts at d_initial, b at zero."""
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 9)).double()
    adapter = inarch.attach(model, "vera", rank=4, d_initial=0.25)
    values = dict(adapter.named_parameters())
    assert all((value == (0.25 if "lambda_d" in name else 0)).all() for name, value in values.items())
    perturb(adapter)
    A, B = adapter.modules["0"].projections.on(torch.device("cpu"))  # type: ignore[union-attr,operator]
    assert (A.shape, B.shape) == ((4, 6), (9, 4))
    bounds = (6 / 6) ** 0.5, (6 / 4) ** 0.5  # Kaiming: sqrt(6 / columns)
    assert A.abs().max() <= bounds[0]
    assert B.abs().max() <= bounds[1]
    x = torch.randn(3, 6, dtype=torch.float64)
    expected = (
        model[0].forward(x)
        + x @ A.double().T * values["0.vera_lambda_d"] @ B[:5].double().T * values["0.vera_lambda_b"]
    )
    torch.testing.assert_close(model[0](x), expected, rtol=0, atol=1e-12)


def test_dropout_acts_in_training_alone() -> None:
    model = FAMILIES["llama"].model()
    perturb(inarch.attach(model, "vera", rank=6, dropout=0.5))
    batch = FAMILIES["llama"].batch()
    assert torch.equal(logits(model, batch), logits(model, batch))
    model.train()
    assert not torch.equal(logits(model, batch), logits(model, batch))


@pytest.mark.parametrize("settings", [{"rank": 0}, {"d_initial": 0.0}, {"dropout": 1.0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        inarch.method("vera", **settings)
