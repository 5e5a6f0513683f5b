from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch import OutputAdapter, Site
from inarch.errors import (
    ConfigError,
    DetachedError,
    DuplicateNameError,
    InarchError,
    InvalidPluginError,
    PlanError,
    TargetError,
    UnknownNameError,
)

from families import FAMILIES, Family, assert_same, logits, perturb, snapshot
from scaling import Scale


def refused(model: nn.Module, error: type[InarchError], match: str, *method: Any, **settings: Any) -> None:
    before = snapshot(model)
    with pytest.raises(error, match=match) as caught:
        inarch.attach(model, *method, **settings)
    assert "\n" not in str(caught.value)
    assert_same(before, snapshot(model))


LLAMA = FAMILIES["llama"]


@pytest.mark.parametrize(
    ("error", "match", "method", "settings"),
    [
        (UnknownNameError, 'did you mean "lora"', "lorra", {}),
        (ConfigError, 'no setting "rnak": did you mean "rank"', "lora", {"rnak": 4}),
        (ConfigError, "rank is 0: it must be at least 1", "lora", {"rank": 0}),
        (ConfigError, "rank is '8': it must be of type int", "lora", {"rank": "8"}),
        (ConfigError, "rank is True", "lora", {"rank": True}),
        (
            ConfigError,
            "rank is 33: .*q_proj is 32 x 32, so a rank there is at most 32",
            "lora",
            {"rank": 33, "targets": ["@attention.query"]},
        ),
        (
            ConfigError,
            "rank is 17: .*k_proj is 16 x 32, so a rank there is at most 16",
            "lora",
            {"rank": 17, "targets": ["k_proj"]},
        ),
        (ConfigError, "rank_pattern .*at most 16", "lora", {"rank_pattern": {"k_proj": 17}}),
        (ConfigError, "alpha is -1.0", "lora", {"alpha": -1}),
        (ConfigError, "dropout is 1.0", "lora", {"dropout": 1.0}),
        (ConfigError, "targets is 3: it must be a list", "lora", {"targets": 3}),
        (TargetError, 'matches no module.*did you mean "q_proj"', "lora", {"targets": ("q_prj",)}),
        (TargetError, 'target "nothing" matches no module', "lora", {"targets": ("q_proj", "nothing")}),
        (
            TargetError,
            'no part of this model has the role "@attention.qury".*did you mean',
            "lora",
            {"targets": ("@attention.qury",)},
        ),
        (TargetError, r"matches only .*norm.*\(norm\), and lora adapts linear", "lora", {"targets": ("norm",)}),
        (TargetError, 'no part of this model has the role "@bias"', "bitfit", {}),
        (TargetError, 'no parameter of this model matches "nowhere.*"', "lora", {"train": ("nowhere.*",)}),
        (PlanError, "head would train nothing", "head", {}),
        (ConfigError, "cannot name an adapter", "lora", {"name": "a.b"}),
        (ConfigError, "cannot name an adapter", "lora", {"name": "forward"}),
    ],
)
def test_wrong_use_is_refused_before_the_model_is_touched(
    error: type[InarchError], match: str, method: str, settings: dict[str, Any]
) -> None:
    refused(LLAMA.model(), error, match, method, **settings)


def test_settings_beside_a_method_are_refused() -> None:
    refused(LLAMA.model(), ConfigError, "settings are its own: rank", inarch.method("lora"), rank=4)


def test_a_name_taken_is_refused() -> None:
    model = LLAMA.model()
    inarch.attach(model, "lora")
    with pytest.raises(DuplicateNameError, match=r'named "default" already \(lora\)'):
        inarch.attach(model, "lora")


def test_a_target_inside_a_trained_head_is_refused() -> None:
    refused(
        FAMILIES["bert"].model(),
        TargetError,
        "matches only classifier, trained as a whole",
        "lora",
        targets=("classifier",),
    )


def test_an_existing_head_can_be_left_alone_and_adapted() -> None:
    model = FAMILIES["bert"].model()
    adapter = inarch.attach(model, "lora", rank=2, targets=("classifier",), train_head=False)
    assert [site.name for site in adapter.sites] == ["classifier"]
    assert adapter.trained == ()


def test_the_output_embedding_is_no_default_target_but_can_be_named(family: Family) -> None:
    model = family.model()
    if model.get_output_embeddings() is None:
        pytest.skip("no output embedding")
    assert "lm_head" not in {site.name for site in inarch.plan(model, "lora").sites}
    assert [site.name for site in inarch.plan(model, "lora", targets=("lm_head",)).sites] == ["lm_head"]


def test_default_targets_reach_every_linear_map_of_the_backbone(family: Family) -> None:
    report = inarch.plan(family.model(), "lora").report()
    assert report.coverage == 1.0
    assert report.unreached == ()


def test_a_plan_counts_what_attaching_trains_and_touches_nothing(family: Family) -> None:
    model = family.model()
    before = snapshot(model)
    report = inarch.plan(model, "lora").report()
    assert_same(before, snapshot(model))
    adapter = inarch.attach(model, "lora")
    assert report == adapter.report()
    assert report.trainable == adapter.num_trainable


def test_a_plan_needs_no_weights() -> None:
    with torch.device("meta"):
        model = LLAMA.make()
    assert inarch.plan(model, "lora").report().trainable == inarch.plan(LLAMA.model(), "lora").report().trainable


def test_roles_choose_the_same_modules_in_every_family() -> None:
    chosen = {
        name: sorted(
            {
                site.name.rsplit(".", 1)[-1]
                for site in inarch.plan(f.model(), "lora", targets=("@attention.query",)).sites
            }
        )
        for name, f in FAMILIES.items()
    }
    assert chosen == {"llama": ["q_proj"], "gpt2": ["c_attn"], "bert": ["query"], "t5": ["q"], "vit": ["q_proj"]}


@pytest.mark.parametrize(
    "role", ["attention.query", "attention.key", "attention.value", "attention.output", "mlp.up", "mlp.down"]
)
def test_every_family_has_every_role(role: str, family: Family) -> None:
    sites = inarch.plan(family.model(), "lora", targets=(f"@{role}",)).sites
    layers = 6 if family.name == "t5" and role.startswith("attention") else 4 if family.name == "t5" else 2
    assert len(sites) == layers


def test_globs_and_endings_choose_by_name() -> None:
    def names(*targets: str) -> list[str]:
        return [site.name for site in inarch.plan(LLAMA.model(), "lora", targets=targets).sites]

    assert names("q_proj") == [f"model.layers.{i}.self_attn.q_proj" for i in range(2)]
    assert names("*.1.*.q_proj") == ["model.layers.1.self_attn.q_proj"]
    assert names("model.layers.0.self_attn.q_proj") == ["model.layers.0.self_attn.q_proj"]
    assert names("*.0.*_proj", "v_proj")[-1] == "model.layers.1.self_attn.v_proj"


def test_several_adapters_add_up_and_go_in_any_order() -> None:
    model = FAMILIES["bert"].model()
    batch = FAMILIES["bert"].batch()
    before, plain = snapshot(model), logits(model, batch)
    one = inarch.attach(model, "lora", name="one")
    perturb(one, seed=1)
    first = logits(model, batch)
    two = inarch.attach(model, "bitfit", name="two")
    perturb(two, seed=2)
    both = logits(model, batch)
    three = inarch.attach(model, "full", name="three")
    perturb(three, seed=3)
    assert list(inarch.adapters(model)) == ["one", "two", "three"]
    one.merge()
    three.detach()
    torch.testing.assert_close(logits(model, batch), both, rtol=0, atol=1e-5)
    two.detach()
    torch.testing.assert_close(logits(model, batch), first, rtol=0, atol=1e-5)
    one.unmerge()
    assert torch.equal(logits(model, batch), first)
    one.detach()
    assert torch.equal(logits(model, batch), plain)
    assert_same(before, snapshot(model))


def test_a_detached_handle_says_so() -> None:
    adapter = inarch.attach(LLAMA.model(), "lora")
    adapter.detach()
    assert "detached" in repr(adapter)
    for use in (
        adapter.detach,
        adapter.merge,
        adapter.unmerge,
        adapter.report,
        adapter.tensors,
        lambda: adapter.num_trainable,
    ):
        with pytest.raises(DetachedError, match="attach or load it again"):
            use()


def test_moving_and_casting_the_model_moves_what_is_set_aside() -> None:
    model = FAMILIES["bert"].model()
    reference = FAMILIES["bert"].model().double()
    adapter = inarch.attach(model, "full")
    perturb(adapter)
    model.double()
    adapter.detach()
    for name, value in model.state_dict().items():
        assert torch.equal(value, reference.state_dict()[name]), name


def test_plain_modules_can_be_adapted() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 3), nn.Conv2d(1, 1, 1))
    adapter = inarch.attach(model, "lora", rank=2)
    assert [site.name for site in adapter.sites] == ["0", "3"]
    adapter.detach()
    assert [site.name for site in inarch.attach(model, "bitfit").sites] == ["0", "2", "3", "4"]


def test_modules_called_by_keyword_and_modules_that_return_tuples() -> None:
    class Pair(nn.Linear):
        def forward(self, hidden_states: Tensor) -> tuple[Tensor, str]:  # type: ignore[override]
            return super().forward(hidden_states), "more"

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair(4, 3)

        def forward(self, x: Tensor) -> Any:
            return self.pair(hidden_states=x)

    model, x = Model(), torch.randn(2, 4)
    adapter = inarch.attach(model, "lora", rank=2)
    perturb(adapter)
    y, more = model(x)
    adapter.merge()
    torch.testing.assert_close(model(x)[0], y)
    assert more == "more"


def test_convolution_biases_shift_channels() -> None:
    model, x = nn.Sequential(nn.Conv2d(2, 3, 2)), torch.randn(1, 2, 5, 5)
    adapter = inarch.attach(model, "bitfit")
    perturb(adapter)
    shifted = model(x)
    adapter.merge()
    torch.testing.assert_close(model(x), shifted)


def test_what_a_method_builds_is_checked() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wrong(Scale):
        """Builds no adapter."""

        def build(self, site: Site) -> OutputAdapter:
            return nn.Identity()  # type: ignore[return-value]

    refused(LLAMA.model(), InvalidPluginError, "must return an OutputAdapter", Wrong())


def test_a_site_shows_its_weight_in_one_orientation() -> None:
    sites = {name: inarch.plan(FAMILIES[name].model(), "lora").sites[0] for name in ("llama", "gpt2")}
    for site in sites.values():
        assert site.weight().shape == (site.out_features, site.in_features)
        assert not site.weight().requires_grad
    assert replace(sites["llama"], name="x").name == "x"


def test_compiles_without_a_break() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))
    perturb(adapter := inarch.attach(model, "lora", rank=2))
    x = torch.randn(3, 8)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    with adapter.disabled():
        torch.testing.assert_close(compiled(x), model(x))
