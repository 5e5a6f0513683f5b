"""PiSSA against its paper (arXiv:2404.02948), the theorem of Eckart and Young, and peft."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.errors import CheckpointError, ConfigError

from families import FAMILIES, Family, logits, perturb


def linear(rank: int = 3, **settings: Any) -> tuple[Any, inarch.Adapter]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6)).double()
    return model, inarch.attach(model, "lora", rank=rank, initialisation="pissa", **settings)


def start(adapter: inarch.Adapter) -> tuple[Tensor, Tensor, float]:
    module: Any = adapter.modules["0"]
    return module.lora_A.detach().clone(), module.lora_B.detach().clone(), module.scale


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_start_is_the_best_approximation_of_its_rank(rank: int) -> None:
    """Eckart and Young: what is left of W has the Frobenius norm of the smaller singular values, and no rank does less.

    The singular values come from the eigenvalues of W W^T, which is another road than an SVD.
    """
    model, adapter = linear(rank)
    weight = model[0].weight.detach()
    A, B, scale = start(adapter)
    values = torch.linalg.eigvalsh(weight @ weight.T).flip(0).clamp(min=0)
    residual = weight - scale * B @ A
    torch.testing.assert_close(residual.norm().square(), values[rank:].sum(), rtol=1e-9, atol=1e-12)
    largest_left = values[rank] if rank < 6 else torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.matrix_norm(residual, 2).square(), largest_left, rtol=1e-9, atol=1e-12)


def test_the_factors_are_split_evenly() -> None:
    """Equations 2 and 3: A = S^1/2 V^T and B = U S^1/2, here both divided by the root of the scale."""
    model, adapter = linear()
    A, B, scale = start(adapter)
    values = torch.linalg.eigvalsh(model[0].weight.detach() @ model[0].weight.detach().T).flip(0)[:3].sqrt()
    torch.testing.assert_close(scale * A @ A.T, torch.diag(values), rtol=0, atol=1e-12)
    torch.testing.assert_close(scale * B.T @ B, torch.diag(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_starts_as_the_base_to_the_bit_and_leaves_the_base_alone(family: Family, dtype: torch.dtype) -> None:
    model = family.model().to(dtype)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    batch = {key: v.to(dtype) if v.is_floating_point() else v for key, v in family.batch().items()}
    before = logits(model, batch)
    inarch.attach(model, "lora", rank=4, initialisation="pissa")
    assert torch.equal(logits(model, batch), before)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights.items())


def test_the_function_is_the_residual_plus_the_trained_product() -> None:
    """Equation 5: X (W_res + A B), with W_res = W - A0 B0."""
    model, adapter = linear()
    A0, B0, scale = start(adapter)
    residual = model[0].weight.detach() - scale * B0 @ A0
    perturb(adapter)
    A, B, _ = start(adapter)
    x = torch.randn(4, 8, dtype=torch.float64)
    expected = x @ (residual + scale * B @ A).T + model[0].bias
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)
    adapter.merge()
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


def test_the_scale_does_not_matter_at_the_start() -> None:
    one, other = (linear(alpha=alpha)[1] for alpha in (2, 50))
    (a, b, scale), (c, d, larger) = start(one), start(other)
    torch.testing.assert_close(scale * b @ a, larger * d @ c, rtol=0, atol=1e-12)


def test_convolutions_are_decomposed_as_matrices() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3)).double()
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    before = model(x)
    adapter = inarch.attach(model, "lora", rank=2, initialisation="pissa")
    assert torch.equal(model(x), before)
    A, B, scale = start(adapter)
    weight = model[0].weight.detach().flatten(1)  # type: ignore[operator]
    left = weight - scale * B.flatten(1) @ A.flatten(1)
    values = torch.linalg.eigvalsh(weight @ weight.T).flip(0)
    torch.testing.assert_close(left.norm().square(), values[2:].sum(), rtol=1e-9, atol=1e-12)
    perturb(adapter)
    unmerged = model(x)
    adapter.merge()
    torch.testing.assert_close(model(x), unmerged, rtol=0, atol=1e-12)


def test_a_file_holds_the_start_and_needs_no_svd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the tensors of LoRA, and the same bits on every machine; without an SVD the start would be another."""
    family = FAMILIES["llama"]
    model = family.model()
    perturb(adapter := inarch.attach(model, "lora", rank=4, initialisation="pissa"))
    adapter.save(tmp_path)
    assert sum(t.numel() for t in adapter.tensors().values()) == 2 * adapter.num_trainable
    assert list(json.loads((tmp_path / "adapter_config.json").read_text())) == ["inarch"]
    decompose = torch.linalg.svd

    def another(*args: Any, **kwargs: Any) -> Any:
        left, values, right = decompose(*args, **kwargs)
        return -left, values, right.flip(0)

    monkeypatch.setattr(torch.linalg, "svd", another)
    again = family.model()
    inarch.load(again, tmp_path)
    assert torch.equal(logits(again, family.batch()), logits(model, family.batch()))


def test_only_the_factors_are_trained() -> None:
    _, adapter = linear()
    assert [name for name, _ in adapter.named_parameters()] == ["0.lora_A", "0.lora_B"]
    assert adapter.num_trainable == 3 * (8 + 6)


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="initialisation"):
        inarch.attach(nn.Sequential(nn.Linear(8, 6)), "lora", initialisation="zeros")


def test_peft_trains_the_same_function() -> None:
    """peft changes the base weight to the residual; with the same A and B its model is ours. It decomposes in float32."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(8, 6))
    ours, x = nn.Sequential(nn.Linear(8, 6)), torch.randn(4, 8)
    ours.load_state_dict(base.state_dict())
    adapter = inarch.attach(ours, "lora", rank=3, alpha=6, initialisation="pissa")
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0"], init_lora_weights="pissa")
    theirs: Any = peft.get_peft_model(base, config)
    layer = theirs.base_model.model[0]
    A, B, scale = start(adapter)
    torch.testing.assert_close(
        scale * B @ A, scale * layer.lora_B["default"].weight @ layer.lora_A["default"].weight, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(layer.base_layer.weight, ours[0].weight - scale * B @ A, rtol=1e-5, atol=1e-6)
    perturb(adapter)
    layer.lora_A["default"].weight.data.copy_(adapter.modules["0"].get_parameter("lora_A"))
    layer.lora_B["default"].weight.data.copy_(adapter.modules["0"].get_parameter("lora_B"))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_a_file_of_peft_s_own_pissa_is_not_taken_for_lora() -> None:
    from inarch_plugins.lora.peft_format import LoRAInPeft

    config = {"r": 3, "lora_alpha": 6, "init_lora_weights": "pissa_niter_4"}
    with pytest.raises(CheckpointError, match="init_lora_weights"):
        LoRAInPeft().method(config, {"0": {"lora_A": (3, 8), "lora_B": (6, 3)}})


@pytest.mark.thorough
def test_compiled_in_one_graph() -> None:
    model = FAMILIES["llama"].model()
    perturb(inarch.attach(model, "lora", rank=4, initialisation="pissa"))
    batch = {"input_ids": FAMILIES["llama"].batch()["input_ids"]}
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(logits(compiled, batch), logits(model, batch), rtol=0, atol=1e-6)
