"""LoRA on fused experts: against a plain loop in float64, against its own merged weights, and against peft."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.errors import CheckpointError, ConfigError
from inarch_plugins.lora.grouped_linear import grouped_linear
from inarch_plugins.lora.peft_format import LoRAInPeft

from families import perturb
from mixtures import MAKERS, answer, mixture, tokens

# peft takes Llama 4's weights for transposed ones, and shared experts for unfused ones.
IN_PEFT = ["mixtral", "qwen3_moe", "gpt_oss", "jetmoe"]


def adapted(name: str, implementation: str = "eager", **settings: Any) -> tuple[Any, inarch.Adapter]:
    model = mixture(name, implementation)
    adapter = inarch.attach(model, "lora", **{"rank": 4, **settings})
    perturb(adapter)
    return model, adapter


def fused(adapter: inarch.Adapter) -> list[inarch.Site]:
    return [site for site in adapter.sites if site.experts]


@pytest.mark.parametrize("name", MAKERS)
def test_the_default_targets_reach_every_expert(name: str) -> None:
    model = mixture(name)
    sites = {site.name: site for site in inarch.plan(model, "lora").sites}
    stacked = {name.rpartition(".")[0] for name, parameter in model.named_parameters() if parameter.dim() == 3}
    assert stacked
    assert stacked == {name for name, site in sites.items() if site.experts}


@pytest.mark.parametrize("name", MAKERS)
def test_parameters_are_two_matrices_for_each_expert_and_projection(name: str) -> None:
    adapter = inarch.attach(mixture(name), "lora", rank=4, targets=("@expert",))
    expected = 0
    for site in fused(adapter):
        shape = site.experts
        assert shape is not None
        expected += sum(shape.count * 4 * (first + second) for first, second in shape.projections.values())
    linears = sum(4 * (site.in_features + site.out_features) for site in adapter.sites if not site.experts)
    assert adapter.num_trainable == expected + linears
    assert adapter.report().trainable_added == adapter.num_trainable


@pytest.mark.parametrize("name", MAKERS)
def test_merged_and_unmerged_are_one_function_in_float64(name: str) -> None:
    model, adapter = adapted(name)
    model.double()
    before = answer(mixture(name).double())
    unmerged = answer(model)
    assert (unmerged - before).abs().max() > 0.01
    adapter.merge()
    torch.testing.assert_close(answer(model), unmerged, rtol=0, atol=1e-10)
    for site in fused(adapter):
        delta = adapter.modules[site.name].delta()
        assert delta is not None
        shapes = {key: change.shape for key, change in delta.others.items()}
        assert shapes == {key: site.module._parameters[key].shape for key in shapes}  # type: ignore[union-attr]
    adapter.unmerge()
    assert torch.equal(answer(model), unmerged)


def naive(x: Tensor, y: Tensor, a: Tensor, b: Tensor, experts: list[int], scale: float) -> Tensor:
    """One row after the other, with a and b of shape (experts, ...)."""
    rows = [y[row] + scale * (b[expert] @ (a[expert] @ x[row])) for row, expert in enumerate(experts)]
    return torch.stack(rows)


@pytest.mark.parametrize("experts", [[0, 0, 2], [0, 0, 0, 1, 1, 3, 3, 3, 3], [2] * 7], ids=["few", "many", "one"])
def test_values_and_gradients_are_those_of_a_plain_loop(experts: list[int]) -> None:
    """In float64; the three cases are computed in different ways."""
    model = mixture("mixtral").double()
    adapter = inarch.attach(model, "lora", rank=3, alpha=5, targets=("@expert",))
    perturb(adapter)
    site = fused(adapter)[0]
    module: Any = adapter.modules[site.name]
    of_rows = torch.tensor(experts)
    ends = torch.tensor([int((of_rows <= expert).sum()) for expert in range(4)], dtype=torch.int32)
    for projection, own in (("down_proj", module), ("gate_up_proj", module.base_layer)):
        in_features, out_features = site.experts.projections[projection]  # type: ignore[union-attr]
        x = torch.randn(len(experts), in_features, dtype=torch.float64, requires_grad=True)
        y = torch.randn(len(experts), out_features, dtype=torch.float64, requires_grad=True)
        inputs = (x, y, own.lora_A, own.lora_B)
        result = module(projection, x, y, of_rows, ends)
        a, b = own.lora_A.view(4, 3, in_features), own.lora_B.view(out_features, 3, 4).permute(2, 0, 1)
        expected = naive(x, y, a, b, experts, 5 / 3)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
        upstream = torch.randn_like(expected)
        for one, other in zip(
            torch.autograd.grad(result, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_grouped_product_keeps_the_rules_of_operations() -> None:
    """Its gradient by finite differences, and PyTorch's own checks of an operation: fake tensors, autograd, tracing."""
    x = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3])
    ends = torch.tensor([3, 5, 5, 9], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda x, weight: grouped_linear(x, weight, groups, ends), (x, weight))
    torch.library.opcheck(torch.ops.inarch_lora.by_group.default, (x, weight, ends))
    torch.library.opcheck(torch.ops.inarch_lora.sum_by_group.default, (x.detach(), x.detach(), ends, torch.float32))


def test_a_starts_uniform_by_its_features_and_b_at_zero() -> None:
    torch.manual_seed(0)
    adapter = inarch.attach(mixture("mixtral"), "lora", targets=("@expert",))
    down: Any = adapter.modules[fused(adapter)[0].name]
    for module, in_features in ((down, 48), (down.base_layer, 32)):
        bound = 1 / math.sqrt(in_features)
        assert module.lora_A.abs().max() <= bound
        assert abs(module.lora_A.std().item() - bound / math.sqrt(3)) < 0.05 * bound
        assert not module.lora_B.any()


def test_half_precision_is_trained_in_float32() -> None:
    model = mixture("mixtral", "grouped_mm").bfloat16()
    adapter = inarch.attach(model, "lora", rank=4, targets=("@expert",))
    before = answer(model)
    perturb(adapter)
    assert answer(model).dtype == torch.bfloat16
    assert not torch.equal(answer(model), before)
    model(tokens(), labels=tokens()).loss.backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in adapter.parameters() if p.grad is not None)
    assert all(parameter.grad is not None for parameter in adapter.parameters())


def test_dropout_acts_in_training_alone() -> None:
    model, _ = adapted("mixtral", dropout=0.5, targets=("@expert",))
    assert torch.equal(answer(model), answer(model))
    model.train()
    assert not torch.equal(answer(model), answer(model))


def test_a_rank_above_a_projection_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 24"):
        inarch.attach(mixture("qwen3_moe"), "lora", rank=25, targets=("experts",))


@pytest.mark.parametrize("settings", [{"dora": True}, {"initialisation": "pissa"}])
def test_what_experts_have_not_is_left_out_by_roles_and_refused_by_name(settings: dict[str, Any]) -> None:
    adapter = inarch.attach(mixture("mixtral"), "lora", **settings)
    assert adapter.sites
    assert not fused(adapter)
    assert any("experts" in name for name in adapter.report().unreached)
    with pytest.raises(ConfigError, match="fused experts"):
        inarch.attach(mixture("mixtral"), "lora", targets=("q_proj", "experts"), **settings)


# --- peft ---------------------------------------------------------------------------------------------------------------


def with_peft(model: nn.Module, config: peft.PeftConfig | Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(config, Path):
            return peft.PeftModel.from_pretrained(model, config).eval()
        return peft.get_peft_model(model, config).eval()


@pytest.mark.parametrize("settings", [{}, {"rank_stabilised": True, "rank": 3}], ids=["plain", "rslora"])
@pytest.mark.parametrize("name", IN_PEFT)
def test_peft_reads_what_inarch_writes(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model, adapter = adapted(name, **settings)
    adapter.save(tmp_path / "adapter")
    theirs = with_peft(mixture(name), tmp_path / "adapter")
    torch.testing.assert_close(answer(model.double()), answer(theirs.double()), rtol=0, atol=1e-10)


def test_patterns_reach_the_experts_in_peft(tmp_path: Path) -> None:
    patterns = {"rank_pattern": {"*.0.*.experts": 2}, "alpha_pattern": {"*.1.*.experts": 5}}
    model, adapter = adapted("mixtral", **patterns)
    adapter.save(tmp_path / "adapter")
    theirs = with_peft(mixture("mixtral"), tmp_path / "adapter")
    torch.testing.assert_close(answer(model.double()), answer(theirs.double()), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"rank_pattern": {r"0\.mlp\.experts\.\w+": 2}, "alpha_pattern": {"q_proj": 3}}]
)
@pytest.mark.parametrize("modules", [["q_proj", "v_proj"], []])
@pytest.mark.parametrize("name", IN_PEFT)
def test_inarch_reads_what_peft_writes(name: str, modules: list[str], options: dict[str, Any], tmp_path: Path) -> None:
    model = mixture(name)
    parameters = [
        f"{path}.{key}"
        for path, module in model.named_modules()
        for key, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 3
    ]
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=modules, target_parameters=parameters, init_lora_weights=False, **options
    )
    theirs = with_peft(model, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(tmp_path / "adapter")
    ours = mixture(name)
    adapter = inarch.load(ours, tmp_path / "adapter")
    assert fused(adapter)
    torch.testing.assert_close(answer(ours.double()), answer(theirs.double()), rtol=0, atol=1e-10)


def test_projections_that_differ_are_refused() -> None:
    parameters = ["experts.gate_up_proj", "experts.down_proj"]
    config = {"r": 4, "lora_alpha": 8, "target_parameters": parameters, "rank_pattern": {"experts.down_proj": 2}}
    shapes = {"layers.0.experts": {"base_layer.lora_A": (16, 32), "lora_A": (8, 48)}}
    with pytest.raises(CheckpointError, match="differ in rank"):
        LoRAInPeft().method(config, shapes)


@pytest.mark.parametrize(
    ("name", "settings"), [("llama4", {}), ("deepseek_v3", {}), ("nemotron_h", {}), ("mixtral", {"dropout": 0.1})]
)
def test_what_peft_cannot_do_is_no_file_of_peft(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model, adapter = adapted(name, **settings)
    adapter.save(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert list(config) == ["inarch"]
    again = mixture(name)
    inarch.load(again, tmp_path / "adapter")
    assert torch.equal(answer(again), answer(model))
