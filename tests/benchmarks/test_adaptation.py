from pathlib import Path

import pytest
import torch

from inarch_benchmarks.embedded.adaptation import Contender, adapt, base_model, reloaded_accuracy
from inarch_benchmarks.embedded.contenders import CONTENDERS, CONTROL, FULL, HEAD, LORA
from inarch_benchmarks.embedded.network import network
from inarch_benchmarks.embedded.optimisation import WARM_UP, rate_at

BY_NAME = {contender.name: contender for contender in CONTENDERS}
WEIGHTS = network(10, seed=7).base_model.state_dict()


def test_contenders_have_names_of_their_own() -> None:
    assert len(BY_NAME) == len(CONTENDERS)
    assert {HEAD, FULL, LORA, CONTROL} <= BY_NAME.keys()


def test_the_control_differs_in_its_base() -> None:
    assert [contender.name for contender in CONTENDERS if not contender.pretrained] == [CONTROL]
    assert BY_NAME[CONTROL].settings == BY_NAME[LORA].settings


def test_heads_are_paired_over_bases() -> None:
    pretrained, random = base_model(3, WEIGHTS), base_model(3, None)
    assert torch.equal(pretrained.classifier.weight, random.classifier.weight)
    assert not torch.equal(pretrained.classifier.weight, base_model(4, WEIGHTS).classifier.weight)
    assert torch.equal(pretrained.vit.embeddings.cls_token, WEIGHTS["embeddings.cls_token"])
    assert not torch.equal(random.vit.embeddings.cls_token, WEIGHTS["embeddings.cls_token"])


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_a_run_is_repeatable_and_leaves_the_generator_alone(contender: Contender) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = (adapt(contender, 0, WEIGHTS, steps=2) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert (one.accuracy, one.trainable) == (two.accuracy, two.trainable)
    assert 0 < one.trainable <= one.base_parameters


def test_an_adapter_survives_its_file(tmp_path: Path) -> None:
    run = adapt(BY_NAME[LORA], 0, WEIGHTS, steps=20, save_to=tmp_path / "adapter")
    assert run.accuracy > 0.2
    assert reloaded_accuracy(tmp_path / "adapter", WEIGHTS, 0) == run.accuracy


def test_the_learning_rate_rises_and_falls() -> None:
    assert 0 < rate_at(0) < 0.2
    assert rate_at(WARM_UP) == 1
    assert rate_at(0.55) == pytest.approx(0.5)
    assert rate_at(1) == 0
