"""LoRA+ (arXiv:2402.12354): B learns faster than A by a fixed ratio."""

import pytest
import torch

import inarch
from inarch.errors import ConfigError

from families import FAMILIES
from mixtures import mixture


def rates(adapter: inarch.Adapter, learning_rate: float) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in adapter.named_parameters()}
    groups = adapter.parameter_groups(learning_rate)
    found = {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}
    assert len(found) == len(names)
    return found


def test_every_b_has_the_ratio_and_everything_else_has_not() -> None:
    """On a model with a new head, and with magnitudes."""
    adapter = inarch.attach(FAMILIES["bert"].model(), "lora", learning_rate_ratio=16, dora=True)
    found = rates(adapter, 1e-3)
    assert {rate for name, rate in found.items() if name.endswith("lora_B")} == {16e-3}
    assert {rate for name, rate in found.items() if not name.endswith("lora_B")} == {1e-3}
    assert any("classifier" in name for name in found)


def test_it_reaches_the_experts() -> None:
    adapter = inarch.attach(mixture("mixtral"), "lora", learning_rate_ratio=4, targets=("experts",))
    found = rates(adapter, 0.5)
    assert sorted(set(found.values())) == [0.5, 2.0]
    assert all((rate == 2.0) == name.endswith("lora_B") for name, rate in found.items())


def test_without_a_ratio_there_is_one_group() -> None:
    adapter = inarch.attach(FAMILIES["llama"].model(), "lora")
    (group,) = adapter.parameter_groups(1e-3)
    assert group["lr"] == 1e-3


def test_one_step_moves_b_by_the_ratio() -> None:
    """Plain gradient descent from the same start: B moves by the ratio times the step without it, A by the same."""
    moves = []
    for ratio in (1.0, 8.0):
        model = torch.nn.Sequential(torch.nn.Linear(4, 3)).double()
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        adapter = inarch.attach(model, "lora", rank=2, learning_rate_ratio=ratio)
        before = {name: parameter.detach().clone().normal_() for name, parameter in adapter.named_parameters()}
        for name, parameter in adapter.named_parameters():
            parameter.data.copy_(before[name])
        model(torch.ones(1, 4, dtype=torch.float64)).sum().backward()
        torch.optim.SGD(adapter.parameter_groups(0.1)).step()
        moves.append({name: parameter.detach() - before[name] for name, parameter in adapter.named_parameters()})
    torch.testing.assert_close(moves[1]["0.lora_A"], moves[0]["0.lora_A"], rtol=0, atol=1e-12)
    torch.testing.assert_close(moves[1]["0.lora_B"], 8 * moves[0]["0.lora_B"], rtol=0, atol=1e-12)


def test_a_ratio_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="learning_rate_ratio"):
        inarch.attach(FAMILIES["llama"].model(), "lora", learning_rate_ratio=0.0)
