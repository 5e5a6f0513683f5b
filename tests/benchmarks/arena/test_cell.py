from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.registry.registry import Registry
from inarch_benchmarks.arena.cell import (
    FAILED,
    MISSING,
    PASSED,
    REFUSED,
    BrokenLawError,
    Cell,
    Subject,
    run_cell,
    subject,
)
from inarch_benchmarks.arena.contenders import CONTENDERS, Contender
from inarch_benchmarks.arena.observe import Reached, observe, reached

from families import FAMILIES


class Shift(inarch.OutputAdapter):
    """``y' = y + b``."""

    def __init__(self, site: inarch.Site) -> None:
        super().__init__()
        self.site = site
        self.b = nn.Parameter(torch.zeros(site.out_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.b


class Unheard(Shift):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class UnheardAtOne(Shift):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y if "layers.1" in self.site.name else y + self.b


class AwayFromTheBase(Shift):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.b + 0.5


class Forgetful(Shift):
    made = 0

    def __init__(self, site: inarch.Site) -> None:
        super().__init__(site)
        Forgetful.made += 1
        self.gain = Forgetful.made

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.gain * self.b


class Explosive(Shift):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.b / 0


class Broken(Shift):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        raise RuntimeError("no such thing")


@dataclass(frozen=True, kw_only=True)
class Fake(inarch.Method):
    """A method whose ``kind`` says what is wrong with it."""

    name = "fake"
    targets: tuple[str, ...] = ("@attention.value", "@mlp.down")
    kind: str = "Shift"

    def build(self, site: inarch.Site) -> inarch.OutputAdapter:
        if self.kind == "scribbles":
            site.module.note = "I was here"  # type: ignore[assignment]
        if self.kind == "hooks":
            site.module.register_forward_hook(lambda *_: None)
        if self.kind == "writes":
            with torch.no_grad():
                site.module.weight.add_(1e-6)  # type: ignore[operator]
        if self.kind in ("refuses", "writes"):
            raise inarch.ConfigError(f"fake does not go with {site.name}")
        kinds: Mapping[str, Any] = globals()
        return kinds.get(self.kind, Shift)(site)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def llama() -> Subject:
    family = FAMILIES["llama"]
    return subject(family.model, family.batch())


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Registry.method_of_record

    def method_of_record(self: Registry, record: Mapping[str, Any]) -> type[inarch.Method]:
        return Fake if record["method"] == "fake" else real(self, record)

    monkeypatch.setattr(Registry, "method_of_record", method_of_record)


def outcome(llama: Subject, kind: str, contender: Contender = Contender()) -> tuple[str, str]:  # noqa: B008
    cell = run_cell(llama, Fake(kind=kind), contender)
    return cell.outcome, cell.reason


def test_a_method_that_keeps_every_law_passes(llama: Subject) -> None:
    cell = run_cell(llama, Fake(), Contender())
    assert (cell.outcome, cell.reason, cell.sites, cell.unused) == (PASSED, "", 4, 0)
    assert cell.trainable == 2 * (16 + 32)  # two layers: two key-value heads of 8, and a width of 32
    assert cell.seconds > 0


@pytest.mark.parametrize("method", ["lora", "bitfit"])
def test_the_methods_that_come_along_pass_where_there_is_something_to_adapt(method: str) -> None:
    family = FAMILIES["gpt2"]
    assert run_cell(subject(family.model, family.batch()), method, CONTENDERS[method]).outcome == PASSED


def test_a_refusal_before_the_model_is_touched_is_told(llama: Subject) -> None:
    cell = run_cell(llama, Fake(kind="refuses"), Contender())
    assert (cell.outcome, cell.error) == (REFUSED, "ConfigError")
    assert cell.reason == "fake does not go with model.layers.0.self_attn.v_proj"


def test_a_refusal_after_the_model_was_touched_is_a_failure(llama: Subject) -> None:
    told, reason = outcome(llama, "writes")
    assert told == FAILED
    assert "leaves traces: values of model.layers.0.self_attn.v_proj.weight" in reason


def test_a_site_whose_adapter_never_runs_is_found(llama: Subject) -> None:
    assert outcome(llama, "Unheard")[0] == FAILED
    told, reason = outcome(llama, "UnheardAtOne")
    assert told == FAILED
    assert reason == "2 of 4 sites got no gradient: model.layers.1.self_attn.v_proj, model.layers.1.mlp.down_proj"


def without(llama: Subject, layer: str) -> Subject:
    """The subject, as if the loss did not depend on a layer that is called."""
    known = llama.reached
    parameters, modules = (frozenset(n for n in names if layer not in n) for names in (known.parameters, known.modules))
    return replace(llama, reached=Reached(parameters, modules, known.called))


def test_a_site_that_the_loss_does_not_depend_on_is_excused(llama: Subject) -> None:
    cell = run_cell(without(llama, "layers.1."), Fake(kind="UnheardAtOne"), Contender())
    assert (cell.outcome, cell.unused) == (PASSED, 2)
    told, reason = outcome(without(llama, "layers."), "Unheard")
    assert told == FAILED
    assert "depends on none of the 4 sites" in reason


def test_a_site_whose_weight_counts_though_nothing_calls_it_is_not_excused(llama: Subject) -> None:
    known = llama.reached
    uncalled = Reached(
        known.parameters, *({n for n in names if "layers.1." not in n} for names in (known.modules, known.called))
    )
    told, reason = outcome(replace(llama, reached=uncalled), "UnheardAtOne")
    assert told == FAILED
    assert reason.startswith("2 of 4 sites got no gradient")


class Towers(nn.Module):
    """A loss of one tower; of the others one is left aside, one is not called, and one shares the weight of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.aside, self.uncalled, self.tied = (nn.Linear(2, 2) for _ in range(4))
        self.tied.weight = self.used.weight

    def forward(self, x: Tensor) -> Any:
        self.aside(x)
        return SimpleNamespace(loss=self.used(x).sum(), logits=None)


def test_what_the_loss_depends_on_is_told_by_gradients_and_calls() -> None:
    found = reached(Towers(), {"x": torch.ones(1, 2)})
    assert found.parameters == {"used.weight", "used.bias", "tied.weight"}
    assert found.modules == {"used"}
    assert found.called == {"", "used", "aside", "tied"}


def test_an_untrained_adapter_away_from_the_base_fails_unless_it_is_meant_to(llama: Subject) -> None:
    told, reason = outcome(llama, "AwayFromTheBase")
    assert told == FAILED
    assert "away from the base" in reason
    assert outcome(llama, "AwayFromTheBase", Contender(starts_at_base=False))[0] == PASSED


def test_what_a_checkpoint_forgets_is_found(llama: Subject) -> None:
    told, reason = outcome(llama, "Forgetful")
    assert told == FAILED
    assert "away from the saved one" in reason


@pytest.mark.parametrize(("kind", "trace"), [("scribbles", "attributes"), ("hooks", "hooks")])
def test_what_detach_leaves_behind_is_found(llama: Subject, kind: str, trace: str) -> None:
    told, reason = outcome(llama, kind)
    assert told == FAILED
    assert reason.startswith("detach leaves traces")
    assert f"{trace} of model.layers.0." in reason


def test_a_loss_that_is_not_finite_fails(llama: Subject) -> None:
    told, reason = outcome(llama, "Explosive")
    assert told == FAILED
    assert "the loss is nan right after attaching" in reason


def test_an_error_is_told_in_a_line_with_its_place(llama: Subject) -> None:
    told, reason = outcome(llama, "Broken")
    assert told == FAILED
    assert reason.startswith("RuntimeError: no such thing at test_cell.py:")


def test_a_method_that_is_not_there_is_not_installed(llama: Subject) -> None:
    assert run_cell(llama, "no-such-method", Contender()) == Cell(MISSING)


def test_a_base_without_a_finite_loss_or_that_is_not_the_same_twice_is_no_subject() -> None:
    class Once(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()) * factor)

        def forward(self) -> Any:
            return SimpleNamespace(loss=self.weight, logits=None)

    factors = iter([1.0, 2.0])
    with pytest.raises(BrokenLawError, match="not the same twice"):
        subject(lambda: Once(next(factors)), {})
    with pytest.raises(BrokenLawError, match="the base's loss is inf"):
        subject(lambda: Once(float("inf")), {})


def test_what_a_model_draws_by_chance_is_drawn_alike() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return SimpleNamespace(loss=None, logits=x + torch.randn(3))

    batch = {"x": torch.zeros(3)}
    assert observe(Noisy(), batch).equals(observe(Noisy(), batch))
    assert observe(Noisy(), batch).distance(observe(Noisy(), {"x": torch.full((3,), 0.25)})) == pytest.approx(
        float((torch.tensor([0.25] * 3)).max()), abs=0.2
    )
