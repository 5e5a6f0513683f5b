"""DoRA against its paper (arXiv:2402.09353) and peft."""

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

import inarch
from inarch.errors import ConfigError

from families import FAMILIES, Family, logits, perturb


def maps() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    return {
        "linear": (nn.Sequential(nn.Linear(6, 5)), torch.randn(3, 4, 6)),
        "bare": (nn.Sequential(nn.Linear(6, 5, bias=False)), torch.randn(3, 6)),
        "convolution": (nn.Sequential(nn.Conv2d(3, 5, 3, padding=1)), torch.randn(2, 3, 6, 6)),
        "line": (nn.Sequential(nn.Conv1d(3, 5, 3, bias=False)), torch.randn(2, 3, 6)),
    }


def attached(name: str) -> tuple[Any, inarch.Adapter, Tensor]:
    model, x = maps()[name]
    adapter = inarch.attach(model.double(), "lora", rank=2, alpha=3, dora=True)
    return model, adapter, x.double()


def decomposed(model: Any, adapter: inarch.Adapter, *, constant_norm: bool) -> Tensor:
    """Equation 5: m (W + scale B A) / ||W + scale B A||, the norm over each output's weights, written out."""
    A, B, m = (adapter.modules["0"].get_parameter(key) for key in ("lora_A", "lora_B", "lora_magnitude_vector"))
    weight = model[0].weight.flatten(1)
    moved = weight + 1.5 * B.flatten(1) @ A.flatten(1)
    norm = moved.pow(2).sum(1).sqrt()
    scaled: Tensor = m.flatten()[:, None] * moved / (norm.detach() if constant_norm else norm)[:, None]
    return scaled.view_as(model[0].weight)


@pytest.mark.parametrize("name", maps())
def test_the_formula(name: str) -> None:
    model, adapter, x = attached(name)
    perturb(adapter)
    weight = decomposed(model, adapter, constant_norm=True).detach()
    result = model(x)
    base = maps()[name][0].double()[0]  # type: ignore[index]
    values = {"weight": weight} | ({} if model[0].bias is None else {"bias": model[0].bias})
    expected = torch.func.functional_call(base, values, (x,))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    adapter.merge()
    torch.testing.assert_close(model[0].weight, weight, rtol=0, atol=1e-13)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", maps())
def test_the_norm_is_a_constant_in_the_gradient(name: str) -> None:
    """Section 4.3; the gradient of the full formula would be another."""
    model, adapter, x = attached(name)
    perturb(adapter)
    parameters = list(adapter.parameters())
    upstream = torch.randn_like(model(x))
    found = torch.autograd.grad(model(x), parameters, upstream)

    def expected(constant: bool) -> tuple[Tensor, ...]:
        values = {"weight": decomposed(model, adapter, constant_norm=constant)}
        base = maps()[name][0].double()[0]  # type: ignore[index]
        bias = {} if model[0].bias is None else {"bias": model[0].bias}
        return torch.autograd.grad(torch.func.functional_call(base, values | bias, (x,)), parameters, upstream)

    for one, other in zip(found, expected(True), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert any(not torch.allclose(one, other, atol=1e-4) for one, other in zip(found, expected(False), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_starts_as_the_base_to_the_bit(family: Family, dtype: torch.dtype) -> None:
    model = family.model().to(dtype)
    batch = {key: v.to(dtype) if v.is_floating_point() else v for key, v in family.batch().items()}
    before = logits(model, batch)
    adapter = inarch.attach(model, "lora", rank=4, dora=True)
    assert torch.equal(logits(model, batch), before)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {p.dtype for site in adapter.sites for p in adapter.modules[site.name].parameters()} == {expected}


def test_the_magnitude_adds_one_parameter_for_each_output(family: Family) -> None:
    plain = inarch.plan(family.model(), "lora", rank=4)
    dora = inarch.plan(family.model(), "lora", rank=4, dora=True)
    outputs = sum(site.out_features for site in plain.sites)
    assert dora.report().trainable == plain.report().trainable + outputs


@pytest.mark.parametrize(("rank", "dora", "share"), [(32, False, 0.83), (32, True, 0.84), (16, True, 0.43)])
def test_llama_7b_has_the_paper_s_parameters(rank: int, dora: bool, share: float) -> None:
    """Table 1, in per cent of all parameters, with the targets of the paper's appendix: q, k, v, up and down.

    In each of 32 layers three maps of 4096 x 4096 and two of 4096 x 11008, and with DoRA a magnitude for each output.
    """
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig())  # the defaults are those of Llama 7B
    targets = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
    report = inarch.plan(model, "lora", rank=rank, dora=dora, targets=targets).report()
    products = rank * (3 * (4096 + 4096) + 2 * (4096 + 11008))
    magnitudes = 3 * 4096 + 11008 + 4096 if dora else 0
    assert report.trainable == 32 * (products + magnitudes)
    assert round(100 * report.trainable / (report.base + report.trainable), 2) == share


def test_the_magnitude_starts_as_the_norm_of_the_weight() -> None:
    model = FAMILIES["gpt2"].model()  # whose weights are stored transposed
    adapter = inarch.attach(model, "lora", dora=True)
    for site in adapter.sites:
        stored: Any = site.module
        m = adapter.modules[site.name].get_parameter("lora_magnitude_vector")
        torch.testing.assert_close(m, stored.weight.norm(dim=0), rtol=1e-6, atol=0)


@pytest.mark.thorough
def test_compiled_in_one_graph() -> None:
    model = FAMILIES["llama"].model()
    perturb(inarch.attach(model, "lora", rank=4, dora=True))
    batch = {"input_ids": FAMILIES["llama"].batch()["input_ids"]}
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(logits(compiled, batch), logits(model, batch), rtol=0, atol=1e-6)


def test_it_is_not_combined_with_pissa() -> None:
    with pytest.raises(ConfigError, match="dora"):
        inarch.attach(FAMILIES["llama"].model(), "lora", dora=True, initialisation="pissa")


# --- peft ---------------------------------------------------------------------------------------------------------------


def with_peft(model: nn.Module, config: peft.PeftConfig | Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the layout of Conv1D weights, which peft then sets right
        if isinstance(config, Path):
            return peft.PeftModel.from_pretrained(model, config).eval()
        return peft.get_peft_model(model, config).eval()


def doubled(family: Family) -> dict[str, Tensor]:
    return {key: v.double() if v.is_floating_point() else v for key, v in family.batch().items()}


def test_peft_and_inarch_exchange_files(family: Family, tmp_path: Path) -> None:
    model = family.model().double()
    perturb(adapter := inarch.attach(model, "lora", rank=4, dora=True), scale=0.05)
    adapter.save(tmp_path / "ours")
    theirs = with_peft(family.model().double(), tmp_path / "ours")
    torch.testing.assert_close(logits(model, doubled(family)), logits(theirs, doubled(family)), rtol=0, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(tmp_path / "theirs")
    again = family.model().double()
    loaded = inarch.load(again, tmp_path / "theirs")
    assert loaded.method.to_dict()["dora"] is True
    torch.testing.assert_close(logits(again, doubled(family)), logits(theirs, doubled(family)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["convolution", "line"])
def test_peft_reads_it_on_convolutions(name: str, tmp_path: Path) -> None:
    model, adapter, x = attached(name)
    perturb(adapter)
    adapter.save(tmp_path)
    theirs = with_peft(maps()[name][0].double(), tmp_path)
    torch.testing.assert_close(model(x), theirs(x), rtol=0, atol=1e-6)


def test_gradients_are_those_of_peft(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    model = family.model().double()
    perturb(adapter := inarch.attach(model, "lora", rank=4, dora=True), scale=0.05)
    adapter.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: Any = peft.PeftModel.from_pretrained(family.model().double(), tmp_path, is_trainable=True).eval()
    model(**family.batch()).loss.backward()
    theirs(**family.batch()).loss.backward()
    of_peft = {name.replace(".default", ""): p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    names = {
        "lora_A": "lora_A.weight",
        "lora_B": "lora_B.weight",
        "lora_magnitude_vector": "lora_magnitude_vector.weight",
    }
    for name, parameter in adapter.named_parameters():
        site, _, key = name.rpartition(".")
        expected = of_peft[f"base_model.model.{site}.{names[key]}"]
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-8)
