"""Base and adapters in one product: the same numbers, less kept, no trace."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

import inarch
from inarch.engine.feature import Declined
from inarch.engine.fused_products import FusedProducts

from families import FAMILIES, assert_same, perturb, snapshot
from sampled import each_once

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"rank": 4}),
    "dora": ("lora", {"rank": 4, "dora": True}),
    "pissa": ("lora", {"rank": 4, "initialisation": "pissa"}),
    "adalora": ("adalora", {"initial_rank": 4, "target_rank": 2}),
    "vera": ("vera", {"rank": 8}),
    "ia3": ("ia3", {}),
    "bottleneck": ("bottleneck", {}),
    "parallel": ("bottleneck", {"placement": "parallel"}),
}
HELD = {"nf4": 2e-4, "int8": 2e-4}


def attached(model: nn.Module, kind: str, **settings: Any) -> Any:
    method, known = METHODS[kind]
    adapter = inarch.attach(model, method, **known, **settings)
    perturb(adapter)
    return adapter


def step(model: nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The loss and every gradient, with the base's dropout drawn from one seed."""
    model.zero_grad()
    torch.manual_seed(5)
    loss = model(**batch).loss
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return gradients | {"loss": loss.detach()}


def assert_close(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        scale = max(1e-6, float(value.abs().max()))
        torch.testing.assert_close(actual[key] / scale, value / scale, rtol=0, atol=tolerance, msg=key)


def llama(kind: str | None = None) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes))
    if kind:
        inarch.quantize(model, kind)
    return model


def text(rows: int, length: int = 12) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 40, (rows, length), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "labels": ids}


@each_once(family=FAMILIES, name=METHODS)
def test_same_loss_and_gradients_in_float64(family: str, name: str) -> None:
    model = FAMILIES[family].model().double()
    batch = {k: v.double() if v.is_floating_point() else v for k, v in FAMILIES[family].batch().items()}
    attached(model, name)
    model.train()
    expected, before = step(model, batch), snapshot(model)
    feature = FusedProducts()
    try:
        feature.start(model, batch)
    except Declined:
        assert name == "bottleneck"  # it stands after whole sublayers
        return
    assert_close(step(model, batch), expected, 1e-10)
    feature.stop(model)
    assert_same(before, snapshot(model))


@each_once(name=METHODS, kind=HELD, rows=[1, 16])
def test_same_loss_and_gradients_on_few_bits(name: str, kind: str, rows: int) -> None:
    model, batch = llama(kind), text(rows)
    attached(model, name)
    model.train()
    expected = step(model, batch)
    feature = FusedProducts()
    feature.start(model, batch)
    assert_close(step(model, batch), expected, HELD[kind])


@pytest.mark.parametrize("kind", [None, "nf4"])
def test_dropout_drops_the_same_features_in_both_passes(kind: str | None) -> None:
    """The gradient is that of the function that was computed: checked by a finite difference; RMSNorm is computed in float32."""
    torch.manual_seed(0)
    model = llama(kind).double()
    adapter = attached(model, "lora", dropout=0.5)
    model.train()
    FusedProducts().start(model, {})
    found, parameter = step(model, text(2)), next(iter(adapter.parameters()))
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(parameter.shape, generator=generator).to(parameter)
    losses = []
    for sign in (1, -1):
        parameter.data += sign * 1e-3 * direction
        losses.append(float(step(model, text(2))["loss"]))
        parameter.data -= sign * 1e-3 * direction
    name = next(name for name, p in model.named_parameters() if p is parameter)
    slope = float((found[name] * direction).sum())
    assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(slope, rel=1e-2)


def test_dropout_keeps_the_mean() -> None:
    model = llama()
    adapter = attached(model, "lora", dropout=0.3)
    model.train()
    FusedProducts().start(model, {})
    module = model.get_submodule(adapter.sites[0].name)
    x = torch.randn(1, 4, 64, requires_grad=True)
    torch.manual_seed(0)
    drawn = torch.stack([module(x).detach() for _ in range(1000)])
    adapter.modules[adapter.sites[0].name].eval()
    error = drawn.std(0) / 1000**0.5
    assert float(error.min()) > 0
    assert float(((drawn.mean(0) - module(x).detach()) / error).abs().max()) < 5


class Products(TorchDispatchMode):
    """Counts products and dequantisations by what they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[tuple[Any, ...], int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func).split(".")[1]
        if name in ("mm", "addmm"):
            key: tuple[Any, ...] = (name, *(tuple(each.shape) for each in args[-2:]))
            self.counts[key] = self.counts.get(key, 0) + 1
        elif name.startswith("dequantise"):
            self.counts["dequantise",] = self.counts.get(("dequantise",), 0) + 1
        return func(*args, **(kwargs or {}))


def counted(model: Any, batch: dict[str, Any]) -> dict[tuple[Any, ...], int]:
    with Products() as products:
        model(**batch).loss.backward()
    return products.counts


def checkpointed(model: Any) -> Any:
    since_6 = getattr(model, "activation_checkpointing_enable", None)
    enable = since_6 or model.gradient_checkpointing_enable  # the older name warns where there is the newer
    enable()
    model.train()
    model.config.use_cache = False
    model.enable_input_require_grads()
    return model


def test_a_checkpoint_need_not_recompute_the_last_product_of_its_block() -> None:
    """Forward and recomputation of two blocks make four products of the down projection, and two are left out."""
    model = checkpointed(llama())
    attached(model, "lora")
    down = ("mm", (24, 192), (192, 64))
    up_backward = ("mm", (24, 192), (192, 64))  # of two projections of each block, in the same shapes
    batch = text(2)
    before = counted(model, batch)
    FusedProducts().start(model, batch)
    assert down == up_backward
    assert before[down] - counted(model, batch)[down] == 2


def test_gradients_under_checkpoints_are_the_same() -> None:
    model = checkpointed(llama("nf4"))
    attached(model, "lora")
    batch = text(16)
    expected = step(model, batch)
    FusedProducts().start(model, batch)
    assert_close(step(model, batch), expected, 2e-4)


def test_nothing_of_the_size_of_a_weight_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = llama("nf4"), text(16)
    attached(model, "lora")
    model.train()
    FusedProducts().start(model, batch)
    kept: set[tuple[int, ...]] = set()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.add(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**batch)
    weights = {(64, 64), (192, 64), (64, 192), (64, 64)}
    assert not kept & (weights | {shape[::-1] for shape in weights})


def test_bits_do_not_change_under_autocast() -> None:
    model, batch = llama("nf4"), text(16)
    attached(model, "lora")
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = step(model, batch)
        FusedProducts().start(model, batch)
        found = step(model, batch)
    assert found["loss"].dtype == expected["loss"].dtype
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-2)
    assert all(found[key].dtype == value.dtype for key, value in expected.items())


def adapters_come_and_go(model: Any, adapter: Any) -> None:
    adapter.detach()
    attached(model, "lora")


def two_adapters(model: Any, adapter: Any) -> None:
    attached(model, "lora", name="other", targets=("@attention.query", "@mlp.down"))


def a_weighted_adapter(model: Any, adapter: Any) -> None:
    adapter.weight = 0.25


def two_of_two_kinds(model: Any, adapter: Any) -> None:
    attached(model, "dora", name="other")
    attached(model, "ia3", name="third")


def a_disabled_adapter(model: Any, adapter: Any) -> None:
    adapter.disabled().__enter__()


def a_merged_adapter(model: Any, adapter: Any) -> None:
    adapter.merge()


CHANGES: list[Callable[[Any, Any], None]] = [
    adapters_come_and_go,
    two_adapters,
    a_weighted_adapter,
    two_of_two_kinds,
    a_disabled_adapter,
    a_merged_adapter,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_adapters_meanwhile_counts(change: Callable[[Any, Any], None]) -> None:
    batch = text(2)

    def logits(fused: bool) -> torch.Tensor:
        model = llama().train()
        adapter = attached(model, "lora")
        feature = FusedProducts()
        if fused:
            feature.start(model, batch)
        change(model, adapter)
        found: torch.Tensor = model(**batch).logits
        if fused:
            feature.stop(model)
            torch.testing.assert_close(model(**batch).logits, found, rtol=1e-5, atol=1e-6)
        return found

    torch.testing.assert_close(logits(fused=True), logits(fused=False), rtol=1e-5, atol=1e-6)


def test_routed_rows() -> None:
    model, batch = llama().eval(), text(2)
    attached(model, "lora", name="a")
    attached(model, "lora", name="b")
    with torch.no_grad(), inarch.route(model, ["a", None]):
        expected = model(**batch).logits
    FusedProducts().start(model, batch)
    with torch.no_grad(), inarch.route(model, ["a", None]):
        torch.testing.assert_close(model(**batch).logits, expected)


def test_a_copy_is_fused_by_itself() -> None:
    model, batch = llama(), text(2)
    attached(model, "lora")
    FusedProducts().start(model, batch)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    plain = llama()
    torch.testing.assert_close(model(**batch).logits, plain(**batch).logits)
    assert not torch.allclose(twin(**batch).logits, plain(**batch).logits, atol=1e-3)


@pytest.mark.thorough
def test_compiled_code_takes_the_plain_way() -> None:
    model, batch = llama().eval(), text(2)
    attached(model, "lora")
    expected = model(**batch).logits
    FusedProducts().start(model, batch)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(**batch).logits, expected, rtol=1e-5, atol=1e-6)


def test_a_hook_of_somebody_else_sees_what_it_saw() -> None:
    model, seen = llama(), []
    name = "model.layers.0.self_attn.q_proj"
    model.get_submodule(name).register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    attached(model, "lora")
    model(**text(2))
    FusedProducts().start(model, {})
    model(**text(2))
    assert torch.equal(*seen)


def test_without_anything_to_fuse_it_is_declined() -> None:
    with pytest.raises(Declined, match="no linear map"):
        FusedProducts().start(llama(), {})


def test_fp8_is_near_and_its_gradients_are_those_of_the_four_bits() -> None:
    model, batch = llama("nf4"), text(16)
    attached(model, "lora")
    model.train()
    expected = step(model, batch)
    feature = FusedProducts(fp8=True)
    assert "fp8" in feature.start(model, batch)
    found = step(model, batch)
    assert 0 < abs(float(found["loss"] / expected["loss"]) - 1) < 2e-2
    first, second = (torch.cat([g.flatten() for g in each.values()]) for each in (found, expected))
    assert float(torch.cosine_similarity(first, second, dim=0)) > 0.98
