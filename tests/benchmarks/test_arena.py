import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.registry.registry import Registry
from inarch_benchmarks.arena import __main__ as command
from inarch_benchmarks.arena import arena, document
from inarch_benchmarks.arena.arena import Row, contest
from inarch_benchmarks.arena.catalogue import TASKS, Entry, entries
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
from inarch_benchmarks.arena.observe import loss_of, observe
from inarch_benchmarks.arena.plot import save_plot
from inarch_benchmarks.arena.tiny import tiny_config

from families import FAMILIES

BUILT = [
    "causal-lm/llama",
    "causal-lm/qwen3_moe",
    "causal-lm/jamba",
    "masked-lm/deberta-v2",
    "seq2seq-lm/t5",
    "sequence-classification/bart",
    "image-classification/swin",
    "image-text-to-text/qwen2_5_vl",
    "image-text-to-text/idefics3",
    "audio-classification/wav2vec2",
    "speech-seq2seq/whisper",
]


def entry(key: str) -> Entry:
    return next(each for each in entries() if each.key == key)


# The catalogue


def test_every_class_of_the_mappings_is_there_once() -> None:
    import transformers.models.auto.modeling_auto as auto

    mapped = {
        names if isinstance(names, str) else names[0]
        for mapping in TASKS.values()
        for names in getattr(auto, mapping).values()
    }
    classes = [each.class_name for each in entries()]
    assert len(classes) == len(set(classes)) >= 400
    assert set(classes) == mapped
    assert len({each.key for each in entries()}) == len(classes)


def test_a_class_goes_by_the_type_it_is_named_after_and_by_its_most_particular_task() -> None:
    keys = {each.class_name: each.key for each in entries()}
    assert keys["LlamaForCausalLM"] == "causal-lm/llama"
    assert keys["BartForConditionalGeneration"] == "seq2seq-lm/bart"
    assert keys["Gemma3ForConditionalGeneration"] == "image-text-to-text/gemma3"


# The factory


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", BUILT)
def test_models_are_tiny_and_the_same_for_the_same_seed_and_their_loss_has_gradients(key: str) -> None:
    made, again, other = entry(key).model(0), entry(key).model(0), entry(key).model(1)
    weights = dict(again.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in made.named_parameters())
    assert any(not torch.equal(value, weights[name]) for name, value in other.named_parameters())
    assert sum(parameter.numel() for parameter in made.parameters()) < 2_000_000
    assert not made.training
    batch, same = entry(key).batch(1), entry(key).batch(1)
    assert batch.keys() == same.keys()
    assert all(torch.equal(value, same[name]) for name, value in batch.items())
    loss = made(**batch).loss
    assert loss.isfinite()
    assert loss.ndim == 0
    loss.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in made.parameters())


@pytest.mark.filterwarnings("ignore")
def test_an_image_changes_what_a_model_of_images_and_text_says() -> None:
    one = entry("image-text-to-text/idefics3")
    model, batch = one.model(), one.batch()
    darker = batch | {"pixel_values": batch["pixel_values"] + 1}
    assert not torch.equal(loss_of(model, batch), loss_of(model, darker))


def test_one_layer_of_each_kind_is_kept() -> None:
    from transformers import JambaConfig, Qwen3NextConfig

    config = tiny_config(Qwen3NextConfig)
    assert sorted(config.layer_types) == ["full_attention", "linear_attention"]
    assert config.num_hidden_layers == 2
    assert set(tiny_config(JambaConfig).layers_block_type) == {"attention", "mamba"}


def test_given_fields_come_before_the_general_ones_in_parts_too() -> None:
    from transformers import LlavaConfig

    config = tiny_config(LlavaConfig, text_config={"hidden_size": 40})
    assert (config.text_config.hidden_size, config.vision_config.hidden_size) == (40, 32)


# The cells


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


def test_a_site_that_the_loss_does_not_depend_on_is_excused(llama: Subject) -> None:
    unused = Subject(llama.make, llama.batch, llama.base, frozenset(n for n in llama.reached if "layers.1." not in n))
    cell = run_cell(unused, Fake(kind="UnheardAtOne"), Contender())
    assert (cell.outcome, cell.unused) == (PASSED, 2)
    told, reason = outcome(Subject(llama.make, llama.batch, llama.base, frozenset()), "Unheard")
    assert told == FAILED
    assert "depends on none of the 4 sites" in reason


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
    assert reason.startswith("RuntimeError: no such thing at test_arena.py:")


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


# The arena


LLAMA = Entry("causal-lm", "llama", "LlamaForCausalLM")
BERT = Entry("masked-lm", "bert", "BertForMaskedLM")
ROWS = [
    Row(LLAMA, "", 10, {"lora": Cell(PASSED, sites=14, seconds=0.5), "bitfit": Cell(REFUSED, 'no part has "@bias": Available: @norm')}),
    Row(BERT, "", 20, {"lora": Cell(FAILED, "2 of 8 sites got no gradient: a.b.c, d.e", seconds=0.25), "bitfit": Cell(PASSED)}),
    Row(Entry("causal-lm", "gone", "Gone"), "ImportError: timm"),
]  # fmt: skip


def test_a_model_that_cannot_be_made_is_told_with_its_reason() -> None:
    row = contest(Entry("causal-lm", "llama", "NoSuchClass"), ["lora"])
    assert "NoSuchClass" in row.unbuilt
    assert not row.cells


def test_what_takes_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "SECONDS", 1)

    def forever(*_: Any) -> Cell:
        while True:
            pass

    monkeypatch.setattr(arena, "subject", forever)
    assert "TimeoutError: it took more than 1 s" in contest(entry("causal-lm/llama"), []).unbuilt


def test_results_are_counted_by_method_and_grouped_by_reason() -> None:
    told = document.document(ROWS, ["lora", "bitfit"], 3.0)
    assert told["models"] == 2
    assert told["unbuilt"] == {"causal-lm/gone": "ImportError: timm"}
    assert told["summary"]["lora"] == {
        PASSED: 1,
        REFUSED: 0,
        FAILED: 1,
        MISSING: 0,
        "refused share": 0.0,
        "seconds": 0.8,
    }
    assert told["summary"]["bitfit"]["refused share"] == 0.5
    assert json.loads(json.dumps(told)) == told
    assert document.by_reason(ROWS[:2], FAILED) == {("lora", "N of N sites got no gradient: NAME"): ["masked-lm/bert"]}
    page = document.page(ROWS, ["lora", "bitfit"], 3.0)
    assert '| bitfit | 1 | no part has "@bias" | causal-lm/llama |' in page
    assert "| causal-lm/gone | ImportError: timm |" in page


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    save_plot(ROWS, ["lora", "bitfit"], tmp_path / "arena.png")
    assert (tmp_path / "arena.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("failing", [False, True])
def test_the_command_writes_its_results_and_exits_with_one_when_a_cell_failed(
    failing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ROWS if failing else ROWS[:1]
    monkeypatch.setattr(command, "run", lambda *_: rows)
    monkeypatch.setattr(
        sys, "argv", ["arena", "--methods", "lora,bitfit", "--models", "llama", "--output", str(tmp_path), "--json"]
    )
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == int(failing)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "arena.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"arena.json", "arena.md", "arena.png"}


@pytest.mark.parametrize("wrong", [["--methods", "lroa"], ["--models", "lama3"]])
def test_the_command_refuses_what_it_does_not_know(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["arena", *wrong])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_models_are_chosen_by_key_or_type_and_by_task() -> None:
    assert [each.key for each in command.chosen("t5", ["seq2seq-lm"])] == ["seq2seq-lm/t5"]
    assert [each.key for each in command.chosen("causal-lm/llam?", list(TASKS))] == ["causal-lm/llama"]
    assert {each.task for each in command.chosen("*", ["audio-classification"])} == {"audio-classification"}


def test_processes_run_every_architecture_and_give_the_rows_in_order() -> None:
    done: list[Row] = []
    rows = arena.run([BERT, LLAMA], ["lora"], 2, done.append, contest=Row, preload=["inarch_benchmarks.arena.arena"])  # type: ignore[arg-type]
    assert rows == [Row(BERT, ["lora"]), Row(LLAMA, ["lora"])]  # type: ignore[arg-type]
    assert sorted(done, key=rows.index) == rows


def test_a_process_that_dies_fails_its_own_cells_alone() -> None:
    (row,) = arena.run(
        [LLAMA], ["lora", "ia3"], 1, lambda _: None, contest=int, preload=["inarch_benchmarks.arena.arena"]
    )  # type: ignore[arg-type]
    assert [(cell.outcome, cell.reason) for cell in row.cells.values()] == [
        (FAILED, "the process ended with exit code 1")
    ] * 2
