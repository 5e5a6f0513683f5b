import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageClassification, AutoModelForMaskedLM, AutoTokenizer

import inarch
from inarch_benchmarks.comparison.examples import TensorExamples
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.embedded.cache import read_record
from inarch_benchmarks.embedded.models.general import mean_loss
from inarch_benchmarks.embedded.models.pretrained_model import PretrainedModel

from small_bases import SHORT, SMALL

KINDS: dict[str, Any] = {
    "glyph-vit": AutoModelForImageClassification,
    "story-bert": AutoModelForMaskedLM,
    "sequence-gpt": AutoModelForCausalLM,
}


@pytest.mark.parametrize("name", SMALL)
def test_a_base_is_made_once_and_reports_its_work(name: str, bases: dict[str, Base]) -> None:
    reported: list[int] = []
    again = SMALL[name]().prepare(reported.append)
    assert again == bases[name]
    assert sum(reported) == SMALL[name].work == SHORT.steps
    assert len(again.fingerprint) == 64
    assert read_record(Path(again.place)) is not None


@pytest.mark.parametrize("name", SMALL)
def test_work_is_reported_step_by_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path))
    reported: list[int] = []
    SMALL[name]().prepare(reported.append)
    assert [work for work in reported if work] == [1] * SHORT.steps


@pytest.mark.parametrize("name", SMALL)
def test_the_general_loss_is_that_of_the_pretraining_model(name: str, bases: dict[str, Base]) -> None:
    base, small = bases[name], SMALL[name]()
    model = KINDS[name].from_pretrained(base.place).eval()
    loss = small.general_loss(base, model.base_model)
    if isinstance(small, PretrainedModel):
        assert loss == pytest.approx(mean_loss(model, small.held_out()))
        assert loss == pytest.approx((read_record(Path(base.place)) or {})["held_out_loss"])
    other = KINDS[name].from_config(model.config).eval()
    assert small.general_loss(base, other.base_model) != pytest.approx(loss, rel=1e-4)
    assert small.general_loss(base, model.base_model) == loss


@pytest.mark.parametrize("method", ["lora", "prefix"])
@pytest.mark.parametrize("name", SMALL)
def test_the_general_loss_sees_the_adapter_and_leaves_it(name: str, method: str, bases: dict[str, Base]) -> None:
    base, small = bases[name], SMALL[name]()
    model = KINDS[name].from_pretrained(base.place).eval()
    before = small.general_loss(base, model.base_model)
    adapter = inarch.attach(model, method)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    backbone, kept = model.base_model, copy.deepcopy(model.state_dict())
    adapted = small.general_loss(base, backbone)
    assert adapted != pytest.approx(before, rel=1e-4)
    assert model.base_model is backbone
    assert inarch.adapters(model)
    assert all(torch.equal(tensor, kept[key]) for key, tensor in model.state_dict().items())
    with adapter.disabled():
        assert small.general_loss(base, backbone) == pytest.approx(before)


def test_the_mean_is_over_labels() -> None:
    class Model(torch.nn.Module):
        def forward(self, labels: torch.Tensor, logits: torch.Tensor) -> Any:
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            return type("Output", (), {"loss": loss})

    torch.manual_seed(0)
    labels, logits = torch.randint(0, 5, (600, 4)), torch.randn(600, 4, 5, dtype=torch.float64)
    labels[:250, 1:] = -100  # the first batch has fewer labels than the others
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert mean_loss(Model(), TensorExamples(labels=labels, logits=logits)) == pytest.approx(float(expected))


def test_fingerprints_know_what_decides_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("story-bert", "sequence-gpt"):
        kind: Any = SMALL[name]
        more = type("More", (kind,), {"stories": 101, "rows": 101})
        later = type("Later", (kind,), {"version": 2})
        seeded = type("Seeded", (kind,), {"seed": 1})
        found = {each().fingerprint() for each in (kind, more, later, seeded)}
        assert len(found) == 4
        assert kind().fingerprint() in found


def test_held_out_data_are_not_trained_on() -> None:
    for name in ("story-bert", "sequence-gpt"):
        kind: Any = SMALL[name]()
        training, held_out = kind.training(), kind.held_out()
        seen, kept = ({tuple(row.tolist()) for row in words(examples)} for examples in (training, held_out))
        assert kept
        assert not seen & kept


def words(examples: Any) -> torch.Tensor:
    found: torch.Tensor = examples.tensors["input_ids"] if hasattr(examples, "tensors") else examples.input_ids
    return found


def test_a_text_base_has_its_tokenizer(bases: dict[str, Base]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bases["story-bert"].place)
    assert tokenizer.decode(tokenizer("The soup was not cold.")["input_ids"]) == "<s> the soup was not cold . </s>"
    assert (tokenizer.pad_token_id, tokenizer.mask_token) == (0, "<mask>")
