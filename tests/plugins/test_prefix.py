"""Prefix-tuning against its paper and against peft."""

import copy
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import inarch
from inarch import ConfigError, TargetError
from inarch.testing import laws_of
from inarch_plugins.prefix import PrefixOfLayer, PrefixTuning

from families import FAMILIES, Family, double, logits, perturb

LENGTH = 3

test_prefix = laws_of(PrefixTuning(length=LENGTH, hidden=8))
test_prefix_without_a_network = laws_of(PrefixTuning(length=LENGTH, hidden=0), models=["llama", "t5"])


def direct(model: nn.Module, **settings: Any) -> inarch.Adapter:
    return inarch.attach(model, PrefixTuning(length=LENGTH, hidden=0, **settings), train_head=False)


def finish(adapter: inarch.Adapter) -> None:
    before = adapter.method
    adapter.finish()
    assert adapter.method != before


def with_peft(model: nn.Module) -> Any:
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LENGTH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of what peft calls
        return peft.get_peft_model(model, config)


def gpt2_medium() -> nn.Module:
    with torch.device("meta"):
        return GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))


def test_gpt2_medium_has_the_paper_s_parameters() -> None:
    """Section 4 and table 1: a prefix of length 5 is keys and values in 24 layers of 1024 features, 0.1 % of GPT-2."""
    report = inarch.plan(gpt2_medium(), PrefixTuning(length=5, hidden=0)).report()
    assert report.sites == 24
    assert report.trainable == 24 * 2 * 5 * 1024
    assert f"{report.trainable / report.base:.1%}" == "0.1%"


def test_the_network_is_that_of_the_paper() -> None:
    """Section 4.3: from a matrix of length x k, through a hidden layer of k, to the keys and values of every layer."""
    k, outputs = 512, 24 * 2 * 1024
    report = inarch.plan(gpt2_medium(), PrefixTuning(length=5, hidden=k)).report()
    assert report.trainable == 5 * k + (k * k + k) + (k * outputs + outputs)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_it_trains_as_many_parameters_as_peft(name: str) -> None:
    trainable, _ = with_peft(FAMILIES[name].model()).get_nb_trainable_parameters()
    assert direct(FAMILIES[name].model()).num_trainable == trainable


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_equals_peft_with_the_same_keys_and_values(name: str) -> None:
    """peft fills a cache with them, so that its tokens stand at later positions: ours are told to stand there too."""
    family = FAMILIES[name]
    torch.manual_seed(4)
    adapted = with_peft(double(family.model())).double()
    model = double(family.model())
    adapter = direct(model)
    embedding = adapted.prompt_encoder["default"].embedding.weight.detach()
    layers = embedding.unflatten(-1, (2 * len(adapter.sites), -1))
    with torch.no_grad():
        for place, built in enumerate(adapter.modules.values()):
            assert isinstance(built, PrefixOfLayer)
            built.keys.copy_(layers[:, 2 * place])
            built.values.copy_(layers[:, 2 * place + 1])
    ids = family.batch()["input_ids"]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = adapted.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    positions = torch.arange(LENGTH, LENGTH + ids.shape[1]).expand(len(ids), -1)
    found = logits(model, {"input_ids": ids, "position_ids": positions})
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_network_computes_what_section_4_3_says() -> None:
    adapter = inarch.attach(FAMILIES["gpt2"].model(), PrefixTuning(length=LENGTH, hidden=5))
    perturb(adapter, scale=0.5)
    first, second = (dict(built.named_parameters()) for built in adapter.modules.values())
    embedding, weight, bias = (first[f"trunk.{name}"] for name in ("embedding", "linear.weight", "linear.bias"))
    hidden = torch.tanh(embedding.double() @ weight.double().T + bias.double())
    for built, own in zip(adapter.modules.values(), (first, second), strict=True):
        both = hidden @ own["head.weight"].double().T + own["head.bias"].double()
        keys, values = built()
        torch.testing.assert_close(keys.double(), both[:, :32], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(values.double(), both[:, 32:], rtol=1e-5, atol=1e-6)
    assert second.keys() == {"head.weight", "head.bias"}


def test_finished_it_is_the_same_without_the_network(family: Family, tmp_path: Path) -> None:
    model, batch = family.model(), family.batch()
    adapter = inarch.attach(model, PrefixTuning(length=LENGTH, hidden=8))
    perturb(adapter)
    before = logits(model, batch)
    finish(adapter)
    torch.testing.assert_close(logits(model, batch), before)
    features = sum(2 * LENGTH * site.attention.key_features for site in adapter.sites if site.attention)
    assert sum(built.numel() for module in adapter.modules.values() for built in module.parameters()) == features
    adapter.save(tmp_path)
    fresh = family.model()
    loaded = inarch.load(fresh, tmp_path) if "prefix" in inarch.methods() else _loaded(fresh, adapter)
    assert loaded.method == PrefixTuning(length=LENGTH, hidden=0)
    assert torch.equal(logits(fresh, batch), logits(model, batch))


def _loaded(model: nn.Module, adapter: inarch.Adapter) -> inarch.Adapter:
    loaded = inarch.attach(model, adapter.method)
    loaded.restore(adapter.tensors())
    return loaded


def test_an_unfinished_checkpoint_goes_on_as_if_uninterrupted(tmp_path: Path) -> None:
    family = FAMILIES["llama"]

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            model(**family.batch()).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def start(model: nn.Module) -> tuple[inarch.Adapter, torch.optim.Optimizer]:
        torch.manual_seed(0)
        adapter = inarch.attach(model, PrefixTuning(length=LENGTH, hidden=8))
        return adapter, torch.optim.Adam(adapter.parameters(), lr=1e-2)

    model = family.model()
    adapter, optimizer = start(model)
    steps(model, optimizer, 2)
    adapter.save(tmp_path)
    state = copy.deepcopy(optimizer.state_dict())
    steps(model, optimizer, 2)
    again = family.model()
    resumed, other = start(again)
    resumed.restore_from(tmp_path)
    other.load_state_dict(state)
    steps(again, other, 2)
    assert torch.equal(logits(again, family.batch()), logits(model, family.batch()))
    finish(resumed)
    resumed.restore_from(tmp_path)  # the network comes back with its checkpoint
    assert resumed.method == PrefixTuning(length=LENGTH, hidden=8)


def test_training_lowers_the_loss(family: Family) -> None:
    model, batch = family.model(), family.batch()
    adapter = inarch.attach(model, PrefixTuning(length=LENGTH, hidden=16), train_head=False)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    losses: list[Tensor] = []
    for _ in range(20):
        losses.append(model(**batch).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_cross_attention_has_prefixes_of_its_own() -> None:
    adapter = direct(FAMILIES["t5"].model())
    names = [site.name.rsplit(".", 1)[-1] for site in adapter.sites]
    assert sorted(names) == ["EncDecAttention"] * 2 + ["SelfAttention"] * 4
    assert adapter.num_trainable == 6 * 2 * LENGTH * 32


def test_a_model_without_attention_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(TargetError, match="@attention"):
        inarch.attach(model, PrefixTuning())


@pytest.mark.parametrize(("setting", "value"), [("length", 0), ("hidden", -1)])
def test_settings_that_cannot_be_are_refused(setting: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"prefix.{setting} is {value}"):
        PrefixTuning(**{setting: value})
