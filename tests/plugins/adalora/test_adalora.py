"""AdaLoRA against its paper, and over the whole of a schedule."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

import inarch
from inarch.errors import ConfigError

from families import FAMILIES, Family, logits, perturb

SHORT = {"initial_rank": 4, "target_rank": 2, "steps": 12, "initial_warmup": 2, "final_warmup": 3, "interval": 2}


def test_deberta_has_the_paper_s_parameters() -> None:
    """Section 4 of arXiv:2303.10512: all six maps of a layer, budgets of 144 and 576 triplets for DeBERTaV3-base.

    A triplet at the four maps of attention holds 768 + 1 + 768 numbers, at the two of the feed-forward block
    768 + 1 + 3072. With the ranks spread evenly, 2 and 8 at each of the 72 maps, that is what LoRA of ranks 2 and 8 has
    (table 1: 0.33M and 1.33M) and the singular values; AdaLoRA spreads them otherwise (0.32M and 1.27M).
    """
    with torch.device("meta"):
        config = DebertaV2Config(
            vocab_size=64, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072
        )
        model = DebertaV2ForSequenceClassification(config)
    targets = ("query_proj", "key_proj", "value_proj", "attention.output.dense", "intermediate.dense", "output.dense")
    for rank, budget in ((2, 144), (8, 576)):
        method = inarch.method("adalora", initial_rank=rank * 3 // 2, target_rank=rank, steps=100, targets=targets)
        assert method.schedule(100, sites=72).target == budget
        assert method.schedule(100, sites=72).initial == budget * 3 // 2
        plan = inarch.plan(model, method)
        assert len(plan.sites) == 72
        chosen = inarch.plan(
            model,
            "adalora",
            initial_rank=rank * 3 // 2,
            target_rank=rank,
            targets=targets,
            rank_pattern={site.name: rank for site in plan.sites},
        )
        lora = 12 * rank * (4 * (768 + 768) + 2 * (768 + 3072))
        assert chosen.report().trainable_added == lora + budget
        assert plan.report().trainable_added == 3 * (lora + budget) // 2
        assert round(lora / 1e6, 2) == {2: 0.33, 8: 1.33}[rank]


@pytest.mark.parametrize("rank_pattern", [None, {"0": 3}])
def test_the_formula(rank_pattern: dict[str, int] | None) -> None:
    """h = W x + alpha / (r + 1e-5) P diag(Lambda) Q x, in float64 and written out; r is the initial rank all along."""
    model = nn.Sequential(nn.Linear(6, 5)).double()
    adapter = inarch.attach(
        model, "adalora", initial_rank=4, target_rank=2, alpha=8, steps=100, rank_pattern=rank_pattern
    )
    perturb(adapter)
    site = adapter.modules["0"]
    assert site.P.shape == (5, 3 if rank_pattern else 4)
    x = torch.randn(3, 6, dtype=torch.float64)
    expected = (
        x @ model[0].weight.T + model[0].bias + 8 / (4 + 1e-5) * x @ (site.P @ site.Lambda.view(-1).diag() @ site.Q).T
    )
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


def test_starts_as_the_authors_do() -> None:
    torch.manual_seed(0)
    adapter = inarch.attach(nn.Sequential(nn.Linear(400, 300)), "adalora", initial_rank=16, steps=100)
    site = adapter.modules["0"]
    assert not site.Lambda.any()
    for vectors in (site.P, site.Q):
        assert abs(vectors.std().item() - 0.02) < 0.001
        assert abs(vectors.mean().item()) < 0.001


def test_the_penalty_is_zero_for_orthogonal_vectors() -> None:
    adapter = inarch.attach(nn.Sequential(nn.Linear(6, 5)).double(), "adalora", **SHORT)
    site = adapter.modules["0"]
    with torch.no_grad():
        site.P.copy_(torch.linalg.qr(torch.randn(5, 4, dtype=torch.float64)).Q)
        site.Q.copy_(torch.linalg.qr(torch.randn(6, 4, dtype=torch.float64)).Q.T)
    penalty = adapter.method.penalty(adapter.modules)
    assert penalty.item() < 1e-14
    penalty.backward()
    assert torch.isfinite(site.P.grad).all()
    with torch.no_grad():
        site.P.mul_(2)  # P^T P - I is then 3 I of rank 4, and one of the two matrices has it
    assert adapter.method.penalty(adapter.modules).item() == pytest.approx(0.1 * 3 * 2 / 2)


def test_dropout_acts_in_training_alone() -> None:
    model = FAMILIES["bert"].model()
    perturb(inarch.attach(model, "adalora", dropout=0.5, **SHORT))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    batch = FAMILIES["bert"].batch()
    assert torch.equal(logits(model, batch), logits(model, batch))
    model.train()
    assert not torch.equal(logits(model, batch), logits(model, batch))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]) -> float:
    optimizer.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def start(family: Family, **settings: Any) -> tuple[nn.Module, inarch.Adapter, torch.optim.Optimizer]:
    model = family.model()
    torch.manual_seed(1)
    adapter = inarch.attach(model, "adalora", **SHORT | settings)
    return model, adapter, torch.optim.AdamW(adapter.parameters(), lr=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_ends_with_the_ranks_that_are_left(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model, adapter, optimizer = start(family)
    before = adapter.num_trainable
    batch = family.batch()
    losses = [step(model, optimizer, batch) for _ in range(12)]
    assert losses[-1] < losses[0]
    ranks = adapter.method.rank_pattern
    assert sum(ranks.values()) == 2 * len(adapter.sites)
    assert len(set(ranks.values())) > 1
    own = {site.name: adapter.modules[site.name] for site in adapter.sites}
    assert {name: module.Lambda.shape[0] for name, module in own.items()} == ranks
    assert not any(module._buffers for module in own.values())
    sizes = sum(ranks[site.name] * (site.in_features + 1 + site.out_features) for site in adapter.sites)
    assert adapter.report().trainable_added == sizes
    assert adapter.num_trainable == sum(p.numel() for p in model.parameters() if p.requires_grad) < before
    adapter.save(tmp_path / "adapter")
    answer = logits(model, batch)
    fresh = family.model()
    loaded = inarch.load(fresh, tmp_path / "adapter")
    assert loaded.method == adapter.method
    assert torch.equal(logits(fresh, batch), answer)
    after = [step(model, optimizer, batch) for _ in range(3)]  # with ranks that stay
    assert after[-1] < losses[-1]
    assert adapter.method.rank_pattern == ranks
    assert all(torch.isfinite(parameter).all() for parameter in adapter.parameters())


def test_the_last_pruning_changes_no_answer() -> None:
    """What is removed was zero already, so the answer after the last step is that of the parameters it kept."""
    family = FAMILIES["llama"]
    model, _, optimizer = start(family)
    for _ in range(12):
        step(model, optimizer, family.batch())
    twin, other, steps = start(family, steps=13, final_warmup=4, initial_warmup=2)
    for _ in range(12):
        step(twin, steps, family.batch())
    assert other.method.rank_pattern is None
    torch.testing.assert_close(logits(model, family.batch()), logits(twin, family.batch()), rtol=0, atol=1e-6)


def test_a_site_may_be_left_with_nothing(tmp_path: Path) -> None:
    """A second map that the loss does not reach is the least important one."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x) + 0 * self.unused(x)

    torch.manual_seed(0)
    model = Two().double()
    fresh, plain = copy.deepcopy(model), copy.deepcopy(model)
    adapter = inarch.attach(model, "adalora", **SHORT, orthogonality=0.0)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.1)
    x = torch.randn(8, 6, dtype=torch.float64)
    for _ in range(14):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
    assert adapter.method.rank_pattern == {"used": 4, "unused": 0}
    assert adapter.modules["unused"].P.shape == (5, 0)
    assert adapter.modules["unused"].Q.shape == (0, 6)
    torch.testing.assert_close(model.unused(x), plain.unused(x), rtol=0, atol=0)
    adapter.save(tmp_path / "adapter")
    loaded = inarch.load(fresh, tmp_path / "adapter")
    assert torch.equal(fresh(x), model(x))
    answer = model(x)
    loaded.merge()
    torch.testing.assert_close(fresh(x), answer, rtol=0, atol=1e-12)
    loaded.unmerge()
    assert torch.equal(fresh(x), answer)
    loaded.detach()
    assert torch.equal(fresh(x), plain(x))
    with_penalty = inarch.attach(plain, "adalora", **SHORT | {"rank_pattern": {"used": 2, "unused": 0}})
    penalty = with_penalty.method.penalty(with_penalty.modules)
    penalty.backward()
    assert torch.isfinite(penalty)


@pytest.mark.parametrize("interrupted", [1, 5, 8, 11])
def test_goes_on_from_a_file_to_the_same_bits(interrupted: int, tmp_path: Path) -> None:
    """Before, between and after prunings, and in the final warm-up: averages and the step are in the file."""
    family = FAMILIES["bert"]
    model, adapter, optimizer = start(family)
    for _ in range(interrupted):
        step(model, optimizer, family.batch())
    adapter.save(tmp_path / "adapter")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    fresh = family.model()
    resumed = inarch.load(fresh, tmp_path / "adapter")
    again = torch.optim.AdamW(resumed.parameters(), lr=0.01)
    again.load_state_dict(torch.load(tmp_path / "optimizer.pt"))
    whole = [step(model, optimizer, family.batch()) for _ in range(14 - interrupted)]
    parts = [step(fresh, again, family.batch()) for _ in range(14 - interrupted)]
    assert whole == parts
    assert resumed.method == adapter.method
    assert adapter.method.rank_pattern is not None
    mine, other = adapter.tensors(), resumed.tensors()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[key], other[key]) for key in mine)


@pytest.mark.thorough
def test_in_trainer_a_killed_run_resumes(config_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from inarch.training.folder import RunFolder

    from runs import KillAt, Killed, assert_same_run, run

    monkeypatch.setattr("inarch.training.run.draw_curve", lambda *arguments: None)
    method = {"name": "adalora", "initial_rank": 4, "target_rank": 2, "interval": 2}
    whole = run(config_file(method=method, output="whole"))
    assert whole.folder.config().method.settings["steps"] == whole.folder.read("run.json")["steps"]
    path = config_file(method=method)
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 9)])
    resumed = run(path, resume=True)
    assert_same_run(whole.folder, resumed.folder)
    assert isinstance(resumed.folder, RunFolder)


def test_in_trainer_the_best_checkpoint_may_be_of_other_ranks(
    config_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At so high a learning rate the first evaluation is the best: the ranks were not yet chosen then."""
    from safetensors import safe_open

    from runs import run

    monkeypatch.setattr("inarch.training.run.draw_curve", lambda *arguments: None)
    method = {"name": "adalora", "initial_rank": 4, "target_rank": 2, "interval": 2}
    result = run(config_file(method=method, training__learning_rate=5.0))
    steps = result.folder.read("run.json")
    with safe_open(result.folder.adapter / "adapter_model.safetensors", framework="pt") as file:
        count = int(file.get_tensor("inarch.steps"))
        names = list(file.keys())
    assert count == steps["best_step"] < steps["steps"]
    assert any("uncertainty" in name for name in names)


def test_convolutions(tmp_path: Path) -> None:
    """A kernel is a matrix with one row for each output channel: held to the merged convolution, with all its options."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2, dilation=2),
    ).double()
    base = copy.deepcopy(model)
    x = torch.randn(2, 4, 12, 12, dtype=torch.float64)
    plain = model(x)
    adapter = inarch.attach(model, "adalora", **SHORT)
    assert adapter.modules["0"].Q.shape == (4, 4 * 9)
    assert adapter.modules["2"].Q.shape == (4, 4 * 9)
    assert torch.equal(model(x), plain)
    perturb(adapter)
    adapted = model(x)
    assert not torch.allclose(adapted, plain)
    for index in ("0", "2"):
        site = adapter.modules[index]
        change = 16 / (4 + 1e-5) * site.P @ (site.Lambda * site.Q)
        base[int(index)].weight.data += change.detach().view(base[int(index)].weight.shape)
    torch.testing.assert_close(adapted, base(x), rtol=0, atol=1e-12)
    adapter.merge()
    torch.testing.assert_close(model(x), base(x), rtol=0, atol=1e-12)
    adapter.unmerge()
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.01)
    for _ in range(12):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
    assert sum(adapter.method.rank_pattern.values()) == 4


def test_without_its_length_the_first_step_is_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 5))
    adapter = inarch.attach(model, "adalora", initial_rank=4, target_rank=2)
    before = {name: parameter.clone() for name, parameter in adapter.named_parameters()}
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    for _ in range(2):
        model(torch.ones(2, 6)).sum().backward()
        with pytest.raises(ConfigError, match=r"adalora.steps is None: .* steps=1000"):
            optimizer.step()
        assert all(torch.equal(parameter, before[name]) for name, parameter in adapter.named_parameters())


def test_for_steps_fills_in_the_length() -> None:
    method = inarch.method("adalora")
    assert method.for_steps(1000).steps == 1000
    schedule = method.for_steps(1000).schedule(1000, sites=1)
    assert (schedule.initial_warmup, schedule.final_warmup) == (100, 300)
    assert inarch.method("adalora", steps=50).for_steps(1000).steps == 50
    chosen = inarch.method("adalora", rank_pattern={"0": 3})
    assert chosen.for_steps(1000) is chosen


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"initial_rank": 0}, "initial_rank is 0: it must be at least 1"),
        ({"target_rank": 13}, "target_rank is 13: .* at most the initial rank, 12"),
        ({"steps": 100, "initial_warmup": 60, "final_warmup": 40}, "steps is 100: the warm-ups take 60 and 40"),
        ({"steps": 1}, "steps is 1: the warm-ups take 0 and 0"),
        ({"initial_warmup": -1}, "initial_warmup is -1"),
        ({"final_warmup": -1}, "final_warmup is -1"),
        ({"interval": 0}, "interval is 0"),
        ({"beta1": 1.0}, "beta1 is 1.0"),
        ({"beta2": 0.0}, "beta2 is 0.0"),
        ({"orthogonality": -0.1}, "orthogonality is -0.1"),
        ({"alpha": 0}, "alpha is 0.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"rank_pattern": {"0": 13}}, "rank_pattern .* at most 12"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        inarch.method("adalora", **settings)


def test_sites_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"initial_rank is 12: 0 is 5 x 6, so a rank there is at most 5"):
        inarch.attach(nn.Sequential(nn.Linear(6, 5)), "adalora")
    with pytest.raises(ConfigError, match="0 is a ConvTranspose"):
        inarch.attach(nn.Sequential(nn.ConvTranspose2d(16, 16, 3)), "adalora")


def test_gradients_that_are_gone_are_missed() -> None:
    """An optimizer that clears the gradients with its step leaves nothing to measure importance by."""

    model = nn.Sequential(nn.Linear(6, 5))
    adapter = inarch.attach(model, "adalora", **SHORT)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda itself, args, kwargs: itself.zero_grad())
    model(torch.ones(2, 6)).sum().backward()
    with pytest.raises(inarch.TrainingError, match=r"gradients after each optimizer step.*call zero_grad after"):
        optimizer.step()


def test_half_precision() -> None:
    family = FAMILIES["llama"]
    model = family.model().to(torch.bfloat16)
    torch.manual_seed(1)
    adapter = inarch.attach(model, "adalora", **SHORT)
    assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
    assert {buffer.dtype for module in adapter.modules.values() for buffer in module.buffers()} == {torch.float32}
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.01)
    losses = [step(model, optimizer, family.batch()) for _ in range(12)]
    assert losses[-1] < losses[0]
    assert adapter.method.rank_pattern is not None


@pytest.mark.thorough
def test_a_compiled_model_trains_through_its_schedule() -> None:
    torch.compiler.reset()
    family = FAMILIES["bert"]
    model, adapter, optimizer = start(family)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    losses = [step(compiled, optimizer, family.batch()) for _ in range(13)]
    assert losses[-1] < losses[0]
    assert adapter.method.rank_pattern is not None
    torch.testing.assert_close(logits(compiled, family.batch()), logits(model, family.batch()))
