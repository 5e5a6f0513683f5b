"""Parameters of fused experts in four and eight bits, held against bitsandbytes and against the floating-point weight."""

import copy
import pickle
from typing import Any

import pytest
import torch
from bitsandbytes.nn.parametrize import replace_parameter_4bit
from torch import Tensor, nn

from inarch.errors import FormatError
from inarch.kernels import FourBit, Int8
from inarch.quant.expert_matrices import ExpertsAttribute
from inarch.quant.quantised_experts import Kind, QuantisedExperts, hold_experts, logical_shape

COUNT, OUT, IN = SIZES = (5, 48, 40)
KINDS: tuple[Kind, ...] = ("nf4", "fp4", "int8")


def value(seed: int = 0, sizes: tuple[int, ...] = SIZES) -> Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


class Experts(nn.Module):
    """One projection, and what it reads under its name."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(3))

    @property
    def held(self) -> Any:
        return self._parameters["up_proj"]

    @property
    def read(self) -> Any:
        return self.up_proj


def experts(kind: Kind = "nf4", seed: int = 0) -> Experts:
    module = Experts(value(seed))
    hold_experts(module, "up_proj", QuantisedExperts.of(value(seed), kind))
    return module


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_are_those_of_the_weight_flattened(kind: Any) -> None:
    whole, ours = FourBit.quantise(value(), kind).tensors(), QuantisedExperts.of(value(), kind).stored.tensors()
    assert whole.keys() == ours.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in whole.items())


def test_eight_bits_are_those_of_each_expert() -> None:
    weight = QuantisedExperts.of(value(), "int8")
    for expert, matrix in enumerate(value()):
        assert torch.equal(weight.dequantise()[expert], Int8.quantise(matrix).dequantise())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [SIZES, (3, 128, 128), (3, 160, 128)], ids=str)
def test_an_expert_is_read_alone(sizes: tuple[int, int, int], kind: Kind) -> None:
    """Scales of an expert begin with a block of scales, in the middle of one, or after some whole ones."""
    weight = QuantisedExperts.of(value(sizes=sizes), kind)
    whole = weight.dequantise()
    assert whole.shape == weight.sizes == logical_shape(weight) == sizes
    for expert in range(sizes[0]):
        one = weight.matrix(expert)
        assert torch.equal(one.dequantise(), whole[expert])
        codes = one.packed if isinstance(one, FourBit) else one.weight
        assert codes.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
        assert codes.numel() * sizes[0] == weight.numel()


def test_matrices_may_come_one_by_one() -> None:
    one, other = (QuantisedExperts.of(given, "nf4") for given in (value(), iter(value())))
    assert torch.equal(one.dequantise(), other.dequantise())


def test_experts_that_share_blocks_are_refused() -> None:
    with pytest.raises(FormatError, match=r"\(7, 5\) is no whole number of blocks"):
        QuantisedExperts.of(value(sizes=(2, 7, 5)), "nf4")


# --- what the module reads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_use_is_that_of_the_dequantised_weight(kind: Kind) -> None:
    module = experts(kind)
    weight, read = module.held.dequantise(), module.read
    assert isinstance(read, ExpertsAttribute)
    rows, batch = value(1, (7, IN)), value(2, (COUNT, 7, IN))
    several, one, ends = torch.tensor([3, 0, 3]), torch.tensor(4), torch.tensor([2, 2, 3, 7, 7], dtype=torch.int32)
    uses = {
        "linear": lambda w: nn.functional.linear(rows, w[2], torch.ones(OUT)),
        "linear of an index": lambda w: nn.functional.linear(rows[0], w[one]),
        "matmul": lambda w: rows @ w[-1].T,
        "matmul of several": lambda w: torch.matmul(batch, w.mT),
        "matmul for all": lambda w: torch.matmul(rows, w.transpose(1, 2)),
        "matmul with more axes": lambda w: torch.matmul(batch[:, None], w.mT),
        "mm": lambda w: torch.mm(w[1], rows.T),
        "mv": lambda w: torch.matmul(w[1], rows[0]),
        "bmm": lambda w: torch.bmm(batch, w.transpose(-1, -2).contiguous()),
        "bmm of gathered": lambda w: torch.bmm(w[several], batch[:3].mT),
        "bmm before": lambda w: torch.bmm(batch[:3, :1], w[several].mT),
        "grouped": lambda w: nn.functional.grouped_mm(rows, w.transpose(-2, -1), offs=ends),
        "einsum": lambda w: torch.einsum("eoi,ni->eno", w, rows),
        "sum": lambda w: w.sum(),
        "slice": lambda w: w[1:3] * 2,
        "part of one": lambda w: w[2][:, 5],
        "mask": lambda w: w[torch.tensor([True, False, True, False, False])],
        "stack": lambda w: torch.stack(list(w)) if isinstance(w, Tensor) else torch.stack([m.dequantise() for m in w]),
        "other axes": lambda w: w.transpose(0, 1),
        "double": lambda w: nn.functional.linear(rows.double(), w[0].to(torch.float64)),
    }
    for name, use in uses.items():
        torch.testing.assert_close(use(read), use(weight), rtol=0, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}")
    facts = {
        "shape": lambda w: w.shape,
        "size": lambda w: w.size(0),
        "dim": lambda w: w[several].mT.dim(),
        "sizes": lambda w: (w[0].shape, w[several].shape, w.mT.shape, w[0].T.shape, len(w)),
        "dtype": lambda w: (w.dtype, w.to(torch.bfloat16).dtype, w[0].to(rows.double()).dtype),
        "device": lambda w: (w.device, w.is_cuda, w.is_meta, w.get_device()),
        "floating": lambda w: w.is_floating_point(),
    }
    for name, fact in facts.items():
        assert fact(read) == fact(weight), name


def test_a_weight_in_floating_point_that_is_held_for_a_while_is_what_is_read() -> None:
    module, weight, rows = experts(), nn.Parameter(value(5)), value(1, (7, IN))
    quantised, module._parameters["up_proj"] = module.held, weight
    assert torch.equal(nn.functional.linear(rows, module.read[2]), nn.functional.linear(rows, weight[2]))
    assert torch.equal(torch.matmul(rows, module.read.mT), torch.matmul(rows, weight.mT))
    assert torch.equal(torch.bmm(value(2, (COUNT, 7, OUT)), module.read), torch.bmm(value(2, (COUNT, 7, OUT)), weight))
    assert list(module.state_dict()) == ["up_proj", "bias"]
    assert len(module.read) == COUNT
    module._parameters["up_proj"] = quantised
    assert torch.equal(module.read[1].dequantise(), quantised.dequantise()[1])


def test_rows_after_the_last_end_belong_to_no_expert() -> None:
    module, rows = experts(), value(1, (4, IN))
    found = nn.functional.grouped_mm(rows, module.read.mT, offs=torch.tensor([1, 1, 2, 2, 2], dtype=torch.int32))
    assert found[:2].abs().sum(1).all()
    assert not found[2:].any()


def test_a_product_under_autocast_is_in_its_dtype() -> None:
    module, rows = experts(), value(1, (4, IN)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = nn.functional.linear(rows, module.read[0])
        expected = nn.functional.linear(rows, module.held.dequantise()[0])
    assert y.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(y, expected)
    y.float().sum().backward()
    assert rows.grad is not None
    assert rows.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_finite_differences(kind: Kind) -> None:
    """The second ones too."""
    module = experts(kind)
    hold_experts(module, "up_proj", QuantisedExperts.of(value(sizes=(3, 16, 4)), kind))
    rows, ends = value(1, (3, 4)).double().requires_grad_(), torch.tensor([2, 2, 3], dtype=torch.int32)
    ways = [
        lambda x: nn.functional.linear(x, module.read[1]),
        lambda x: torch.bmm(module.read[torch.tensor([1, 0, 1])], x.unsqueeze(-1)),
        lambda x: module.read.mT.grouped_after(x, ends),
    ]
    for way in ways:
        assert torch.autograd.gradcheck(way, (rows,))
        assert torch.autograd.gradgradcheck(way, (rows,))


def test_the_compiled_product_keeps_the_rules_of_operations() -> None:
    """PyTorch's own checks of an operation: fake tensors, autograd, tracing."""
    from inarch.quant.expert_products import _taken_apart

    for weight in (experts(kind).held for kind in KINDS):
        x, ends = value(1, (6, OUT)).requires_grad_(), torch.tensor([2, 2, 3, 6, 6])
        arguments = _taken_apart(weight.stored, weight.sizes)
        torch.library.opcheck(torch.ops.inarch.by_expert.default, (x, ends, *arguments, False))
        expected = torch.cat(
            [part @ weight.dequantise()[e] for e, part in zip((0, 2, 3), x.split([2, 1, 3]), strict=True)]
        )
        torch.testing.assert_close(torch.ops.inarch.by_expert(x, ends, *arguments, False), expected)


def test_nothing_of_the_size_of_the_weight_is_kept_for_backward() -> None:
    module, kept = experts("int8"), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        nn.functional.linear(value(1, (2, IN)).requires_grad_(), module.read[1]).sum()
        torch.bmm(value(1, (COUNT, 2, IN)).requires_grad_(), module.read.mT).sum()
    assert max(kept, default=0) < OUT * IN


# --- merging, moving and saving -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_experts_that_a_change_leaves_alone_keep_their_bits(kind: Kind) -> None:
    sizes = (4, 128, 128)  # each expert has blocks of scales of its own
    weight, change = QuantisedExperts.of(value(sizes=sizes), kind), torch.zeros(sizes)
    change[2] = value(3, sizes[1:])
    before, after = weight.dequantise(), weight.plus(change).dequantise()
    for expert in (0, 1, 3):
        assert torch.equal(after[expert], before[expert])
    expected = QuantisedExperts.of((before + change)[2:3], kind).dequantise()[0]
    # where scales are quantised, they are in another company
    torch.testing.assert_close(after[2], expected, rtol=0, atol=0 if kind == "int8" else 0.05)
    assert torch.equal(weight.dequantise(), before)
    assert torch.equal(weight.plus(torch.zeros(sizes)).dequantise(), before)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_scales_in_a_block_with_changed_ones_are_rounded_once_more(kind: Any) -> None:
    weight, change = QuantisedExperts.of(value(), kind), torch.zeros(SIZES)
    change[2] = value(3, SIZES[1:])
    after = weight.plus(change)
    packed = weight.view(COUNT, -1)
    assert [torch.equal(after.view(COUNT, -1)[e], packed[e]) for e in range(COUNT)] == [True, True, False, True, True]
    torch.testing.assert_close(after.dequantise()[0], weight.dequantise()[0], rtol=0.02, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles_stand_alone(kind: Kind) -> None:
    module, rows = experts(kind), value(1, (3, IN))
    expected = rows @ module.read[1].T
    twins = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    module.held.data.zero_()
    for twin in twins:
        assert torch.equal(rows @ twin.read[1].T, expected)
        assert twin.state_dict().keys() == module.state_dict().keys()
        twin.load_state_dict(module.state_dict())
        assert torch.equal(twin.held, module.held)


@pytest.mark.parametrize("kind", KINDS)
def test_casting_the_model_leaves_the_weight_alone(kind: Kind) -> None:
    module = experts(kind)
    before = module.held.dequantise()
    module.to(torch.bfloat16)
    assert torch.equal(module.held.dequantise(), before)
    assert (value(1, (3, IN)).bfloat16() @ module.read[0].T).dtype == torch.bfloat16
    assert module.read.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_go_from_one_to_another(kind: Kind) -> None:
    source, target = nn.Sequential(experts(kind)), nn.Sequential(experts(kind, seed=1))
    entries = source.state_dict()
    names = list(entries)
    target.load_state_dict(entries)
    assert list(entries) == names
    assert torch.equal(target[0].held.dequantise(), source[0].held.dequantise())
    assert target[0].held.data_ptr() != source[0].held.data_ptr()
    again = target.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in entries.items())
    whole = {name: value for name, value in entries.items() if not name.endswith(("absmax", "SCB"))}
    with pytest.raises(FormatError, match=r"0\.up_proj"):
        target.load_state_dict(whole)
    with pytest.raises(FormatError, match=r"0\.up_proj has shape \(5, 48, 40\)"):
        target.load_state_dict({**entries, **nn.Sequential(_of_other_sizes(kind)).state_dict()})
    assert target.load_state_dict({"0.bias": torch.ones(3)}, strict=False).missing_keys == ["0.up_proj"]
    assert torch.equal(target[0].held.dequantise(), source[0].held.dequantise())


def _of_other_sizes(kind: Kind) -> Experts:
    module = experts(kind)
    hold_experts(module, "up_proj", QuantisedExperts.of(value(sizes=(2, 48, 40)), kind))
    return module


@pytest.mark.parametrize("double", [False, True])
def test_bitsandbytes_parameters_and_ours_hold_the_same_entries(double: bool) -> None:
    theirs = Experts(value(4))
    replace_parameter_4bit(theirs, "up_proj", compress_statistics=double, quant_type="nf4", blocksize=64)
    entries = theirs.state_dict()
    ours = experts(seed=1)
    ours.load_state_dict(entries)
    assert ours.state_dict().keys() == entries.keys()
    torch.testing.assert_close(ours.held.dequantise(), theirs.up_proj.data, rtol=0, atol=1e-6)
    if double:
        own = experts(seed=4)
        assert own.state_dict().keys() == entries.keys()
        assert torch.equal(own.state_dict()["up_proj"], entries["up_proj"])
        scales = own.state_dict()["up_proj.absmax"].int(), entries["up_proj.absmax"].int()
        assert (scales[0] - scales[1]).abs().max() <= 1  # the nearest of two that are equally near
    change = torch.zeros(SIZES)
    assert torch.equal(ours.held.plus(change).dequantise(), ours.held.dequantise())
