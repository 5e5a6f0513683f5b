"""AdaLoRA against what the authors' code computes on a small problem, recorded in recorded.json."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch_plugins.adalora import AdaLoRA, Triplets
from inarch_plugins.adalora.importance import kept, scores

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
SITES = ("0", "2")


def wave(shape: tuple[int, ...], phase: float, scale: float) -> Tensor:
    """The numbers that the recorded run was given; recorded.json says so under "how"."""
    return scale * torch.sin(phase + 2.9 * torch.arange(math.prod(shape), dtype=torch.float64)).reshape(shape)


def attached() -> tuple[nn.Module, inarch.Adapter, list[Triplets]]:
    first, second = nn.Linear(6, 5), nn.Linear(5, 4)
    model = nn.Sequential(first, nn.Tanh(), second).double()
    with torch.no_grad():
        for index, linear in enumerate((first, second)):
            linear.weight.copy_(wave(tuple(linear.weight.shape), 0.1 + 0.2 * index, 0.6))
            linear.bias.copy_(wave(tuple(linear.bias.shape), 0.2 + 0.2 * index, 0.1))
    adapter = inarch.attach(model, AdaLoRA(**RECORDED["settings"]))
    sites = [adapter.modules[name] for name in SITES]
    with torch.no_grad():
        for index, site in enumerate(sites):
            site.P.copy_(wave(tuple(site.P.shape), 1.0 + index, 0.5))
            site.Q.copy_(wave(tuple(site.Q.shape), 3.0 + index, 0.5))
    return model, adapter, sites


def same(ours: Any, theirs: Any) -> None:
    ours = torch.as_tensor(ours, dtype=torch.float64)
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-15)


def test_every_step_is_that_of_the_authors_code() -> None:
    """Losses, penalties, budgets, scores, thresholds and masks of 24 steps of Adam."""
    model, adapter, sites = attached()
    x, y = wave((16, 6), 5.0, 1.0), wave((16, 4), 6.0, 1.0)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=RECORDED["learning_rate"])
    schedule = adapter.method.schedule(24, sites=2)
    for recorded in RECORDED["steps"]:
        step = recorded["step"]
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        same(loss.detach(), recorded["loss"])
        same(adapter.method.penalty(adapter.modules).detach(), recorded["penalty"])
        loss.backward()
        found = []
        if recorded["threshold"] is not None and step == RECORDED["settings"]["steps"]:
            found = [scores(site) for site in sites]  # they are gone after the last step, and in it they do not change
        optimizer.step()
        assert schedule.budget(step) == recorded["budget"]
        assert schedule.prunes(step) == (recorded["threshold"] is not None)
        if step < RECORDED["settings"]["steps"]:
            for name, site in zip(SITES, sites, strict=True):
                same(site.Lambda.detach().view(-1), recorded["singular_values"][name])
            found = [scores(site) for site in sites]
        if recorded["threshold"] is not None:
            for name, score in zip(SITES, found, strict=True):
                same(score, recorded["scores"][name])
            left_out = torch.cat(found)[torch.cat(found) <= recorded["threshold"] * (1 + 1e-9)]
            assert len(left_out) == schedule.initial - recorded["budget"]
            same(left_out.max(), recorded["threshold"])
    assert adapter.method.rank_pattern == RECORDED["ranks"]
    for name, site in zip(SITES, sites, strict=True):
        left = [value for value in RECORDED["steps"][-1]["singular_values"][name] if value]
        same(site.Lambda.detach().view(-1), left)
        assert (site.P.shape[1], site.Q.shape[0]) == (len(left), len(left))


def test_ties_with_the_first_one_left_out_are_left_out() -> None:
    _, _, sites = attached()
    for index, site in enumerate(sites):
        for average in ("sensitivity", "uncertainty"):
            value = (
                torch.tensor([[4.0], [2.0], [2.0], [1.0]]) if index == 0 else torch.tensor([[3.0], [2.0], [0.5], [0.1]])
            )
            getattr(site, f"Lambda_{average}").copy_(value)
    assert [keep.tolist() for keep in kept(sites, 4)] == [[True, False, False, False], [True, False, False, False]]
    assert [keep.tolist() for keep in kept(sites, 5)] == [[True, True, True, False], [True, True, False, False]]
    assert all(keep.all() for keep in kept(sites, 8))


@pytest.mark.parametrize(
    ("initial", "final", "interval", "steps"), [(0, 0, 1, 10), (3, 4, 2, 30), (10, 40, 7, 100), (100, 300, 10, 1000)]
)
def test_the_schedule_is_peft_s(initial: int, final: int, interval: int, steps: int) -> None:
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    config = AdaLoraConfig(
        init_r=12, target_r=5, tinit=initial, tfinal=final, deltaT=interval, total_step=steps, target_modules=["0"]
    )
    theirs = RankAllocator(nn.Module(), config, "default")
    theirs.init_bgt, theirs.target_bgt = 12 * 7, 5 * 7
    method = AdaLoRA(
        initial_rank=12, target_rank=5, initial_warmup=initial, final_warmup=final, interval=interval, steps=steps
    )
    ours = method.schedule(steps, sites=7)
    for step in range(1, steps + 1):
        last = step == steps  # where ours always prunes, to remove what is left out
        assert (ours.budget(step), ours.prunes(step)) == (
            theirs.budget_schedule(step)[0],
            theirs.budget_schedule(step)[1] or last,
        )
