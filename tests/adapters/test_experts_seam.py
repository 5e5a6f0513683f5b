"""Adapters inside fused experts, in every way that transformers computes them."""

import copy
import pickle
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import inarch
from inarch.errors import FormatError

from families import assert_same, snapshot
from mixtures import CELLS, IMPLEMENTATIONS, answer, mixture, tokens


class FullRank(inarch.ExpertsAdapter):
    """y' = y + D_e x with a full matrix for each expert: an adapter whose merged weight is written down directly."""

    def __init__(self, site: inarch.Site) -> None:
        super().__init__()
        assert site.experts is not None
        self.transposed = site.experts.transposed
        for name, (in_features, out_features) in site.experts.projections.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(site.experts.count, out_features, in_features)))

    def forward(self, projection: str, x: Tensor, y: Tensor, experts: Tensor, ends: Tensor) -> Tensor:
        weight = self._parameters[projection]
        assert weight is not None
        return y + torch.einsum("noi,ni->no", weight[experts].to(x.dtype), x)

    def delta(self) -> inarch.WeightDelta:
        changes = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return inarch.WeightDelta(others={name: c.mT if self.transposed else c for name, c in changes.items()})


@dataclass(frozen=True, kw_only=True)
class Full(inarch.Method):
    """h = (W + D) x."""

    name = "full_rank_experts"
    accepts = ("experts",)
    targets: tuple[str, ...] = ("@expert",)

    def build(self, site: inarch.Site) -> FullRank:
        return FullRank(site)


def attached(model: Any, name: str = "default", scale: float = 0.2) -> inarch.Adapter:
    adapter = inarch.attach(model, Full(), name=name)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return adapter


@pytest.fixture(params=CELLS, ids=["-".join(cell) for cell in CELLS])
def model(request: pytest.FixtureRequest) -> Any:
    return mixture(*request.param)


def test_adapters_that_change_nothing_leave_every_bit(model: Any) -> None:
    before = answer(model)
    adapter = inarch.attach(model, Full())
    assert adapter.sites
    assert torch.equal(answer(model), before)


def test_the_function_is_that_of_the_changed_weights(model: Any) -> None:
    """Every projection of every expert is reached: merging, which knows nothing of the seam, gives the same logits."""
    before = answer(model)
    adapter = attached(model)
    unmerged = answer(model)
    assert (unmerged - before).abs().max() > 0.01
    adapter.merge()
    torch.testing.assert_close(answer(model), unmerged, rtol=1e-4, atol=2e-6)


def test_off_is_the_base_and_detached_leaves_no_trace(model: Any) -> None:
    before, logits = snapshot(model), answer(model)
    adapter = attached(model)
    with adapter.disabled():
        assert torch.equal(answer(model), logits)
    adapter.detach()
    assert_same(before, snapshot(model))
    assert torch.equal(answer(model), logits)


def test_a_weight_takes_part_of_the_change(model: Any) -> None:
    """Half of the change of every product is what half of the matrices would make."""
    adapter = attached(model)
    adapter.weight = 0.5
    halved = answer(model)
    adapter.weight = 1.0
    for parameter in adapter.parameters():
        parameter.data.mul_(0.5)
    torch.testing.assert_close(halved, answer(model), rtol=1e-4, atol=2e-6)


def test_copies_have_adapters_of_their_own(model: Any) -> None:
    adapter = attached(model)
    logits = answer(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(answer(twin), logits)
        (own,) = inarch.adapters(twin).values()
        for parameter in own.parameters():
            parameter.data.zero_()
        assert not torch.equal(answer(twin), logits)
    assert torch.equal(answer(model), logits)
    adapter.detach()


class Witness(FullRank):
    """Looks at what it is given."""

    def __init__(self, site: inarch.Site) -> None:
        super().__init__(site)
        self.site = site
        self.seen: list[tuple[str, Tensor, Tensor, Tensor, Tensor]] = []

    def forward(self, projection: str, x: Tensor, y: Tensor, experts: Tensor, ends: Tensor) -> Tensor:
        self.seen.append((projection, x, y.clone(), experts, ends))  # a bias is added to y in place
        return y


def test_an_adapter_is_given_sorted_rows_with_their_experts(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Full, "build", lambda self, site: Witness(site))
    adapter = inarch.attach(model, Full())
    answer(model)
    for site in adapter.sites:
        witness: Any = adapter.modules[site.name]
        shape = site.experts
        assert shape is not None
        assert {projection for projection, *_ in witness.seen} == set(shape.projections)
        for projection, x, y, experts, ends in witness.seen:
            in_features, out_features = shape.projections[projection]
            assert x.shape == (len(experts), in_features)
            assert y.shape == (len(experts), out_features)
            assert ends.dtype == torch.int32
            counts = [int((experts == expert).sum()) for expert in range(shape.count)]
            assert ends.tolist() == [sum(counts[: expert + 1]) for expert in range(shape.count)]
            assert experts.tolist() == sorted(experts.tolist())
            weight = site.module._parameters[projection]
            assert weight is not None
            of_rows = weight[experts].double() if not shape.transposed else weight[experts].double().mT
            expected = torch.einsum("noi,ni->no", of_rows, x.double()).float()
            torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "nemotron_h"])
@pytest.mark.parametrize("implementation", ["grouped_mm", "batched_mm"])
def test_compiled_in_one_graph(name: str, implementation: str) -> None:
    model = mixture(name, implementation)
    attached(model)
    experts: nn.Module = inarch.adapters(model)["default"].sites[0].module
    x = torch.randn(6, 32)
    weights, index = torch.randn(6, 4).softmax(-1).topk(2)
    torch._dynamo.reset()
    compiled = torch.compile(experts, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, index, weights), experts(x, index, weights), rtol=1e-5, atol=1e-6)


def test_the_implementation_can_be_changed_while_attached() -> None:
    model = mixture("mixtral", "eager")
    attached(model)
    logits = answer(model)
    for implementation in IMPLEMENTATIONS:
        model.set_experts_implementation(implementation)
        torch.testing.assert_close(answer(model), logits, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_with_and_without_checkpointing(implementation: str) -> None:
    """Those of a plain float64 model whose weights are the sums, computed by PyTorch alone."""
    model = mixture("mixtral", implementation)
    adapter = attached(model)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(tokens(), labels=tokens()).loss.backward()
        return [parameter.grad.clone() for parameter in adapter.parameters() if parameter.grad is not None]

    plain = gradients()
    model.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the method has another name from v6 on
        model.gradient_checkpointing_enable()
    again = gradients()
    assert len(plain) == len(again) == 4
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    expected = _gradients_of_summed_weights(adapter)
    for one, other in zip(plain, expected, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-3, atol=1e-6)


def _gradients_of_summed_weights(adapter: inarch.Adapter) -> list[Tensor]:
    plain = mixture("mixtral").double()
    weights = []
    for site in adapter.sites:
        for name, change in adapter.modules[site.name].named_parameters():
            weight = plain.get_submodule(site.name).get_parameter(name)
            weight.data += change.detach()
            weights.append(weight)
    plain(tokens(), labels=tokens()).loss.backward()
    return [weight.grad for weight in weights if weight.grad is not None]


class _Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_no_projection_is_ever_copied_whole(implementation: str) -> None:
    model = mixture("mixtral", implementation)
    adapter = inarch.attach(model, "lora", rank=2, targets=("@expert",))
    shape = adapter.sites[0].experts
    assert shape is not None
    smallest = min(shape.count * a * b for a, b in shape.projections.values())
    with _Largest() as largest, torch.no_grad():
        model(tokens(1, 1))
    assert 0 < largest.elements < smallest


def test_two_adapters_add_up() -> None:
    model = mixture("mixtral", "grouped_mm")
    one, other = attached(model, "one"), attached(model, "other")
    both = answer(model)
    other.detach()
    for parameter in one.parameters():
        parameter.data.mul_(2)
    torch.testing.assert_close(answer(model), both, rtol=1e-4, atol=2e-6)


def test_names_and_parameters_stay_those_of_the_model() -> None:
    model = mixture("mixtral")
    names, parameters = list(model.state_dict()), dict(model.named_parameters())
    attached(model)
    assert [name for name in model.state_dict() if ".inarch." not in name] == names
    assert all(parameter is parameters[name] for name, parameter in model.named_parameters() if name in parameters)
    changed = {name: torch.zeros_like(value) for name, value in parameters.items() if "experts" in name}
    with torch.no_grad():
        swapped = torch.func.functional_call(model, changed, (tokens(),)).logits
    assert not torch.equal(swapped, answer(model))  # the weight that is read is the one the module holds


class Forms(nn.Module):
    """Experts whose weights are brought into other forms before they are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.num_experts = 2
        self.up_proj = nn.Parameter(torch.randn(2, 6, 4))
        self.down_proj = nn.Parameter(torch.randn(2, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        by_one = torch.stack([(x @ self.up_proj[i].T).relu() @ self.down_proj.transpose(1, 2)[i] for i in range(2)])
        at_once = torch.matmul(torch.matmul(x, self.up_proj.mT).relu(), self.down_proj.to(x.dtype).mT.contiguous())
        gathered = torch.bmm(self.up_proj[torch.tensor([1, 0, 1])].float(), x.unsqueeze(-1)).squeeze(-1)
        return by_one.sum(0) + at_once.sum(0) + torch.mm(gathered, self.down_proj[torch.tensor(1)].t())


def test_other_forms_of_a_weight_are_adapted_too() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(Forms()), torch.randn(3, 4)
    before = model(x)
    adapter = attached(model)
    unmerged = model(x)
    assert (unmerged - before).abs().max() > 0.1
    adapter.merge()
    torch.testing.assert_close(model(x), unmerged, rtol=1e-5, atol=1e-5)


class Unusual(nn.Module):
    """Experts that are multiplied in a way nobody has heard of."""

    def __init__(self) -> None:
        super().__init__()
        self.num_experts = 2
        self.up_proj = nn.Parameter(torch.randn(2, 6, 4))
        self.down_proj = nn.Parameter(torch.randn(2, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("eoi,ehi,nh->no", self.down_proj, self.up_proj.transpose(1, 2), x)


def test_another_use_of_the_weight_is_refused_rather_than_left_unadapted() -> None:
    model = nn.Sequential(Unusual())
    x = torch.randn(3, 4)
    before = model(x)
    adapter = inarch.attach(model, Full())
    with pytest.raises(FormatError, match="einsum"):
        model(x)
    with adapter.disabled():
        assert torch.equal(model(x), before)
    experts: Any = model[0]
    with pytest.raises(FormatError, match=r"\.mean"):
        experts.down_proj.mean()
    with pytest.raises(FormatError, match=r"\["):
        experts.down_proj[:1]
    assert experts.down_proj.shape == (2, 4, 6)
    assert experts.down_proj.dtype == torch.float32
