"""BitFit against its paper, and the two baselines."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import inarch

from architectures import made
from families import FAMILIES, perturb


def bert_base() -> BertForSequenceClassification:
    with torch.device("meta"):
        return BertForSequenceClassification(BertConfig(num_labels=2))


def test_bitfit_trains_every_bias_of_bert_base() -> None:
    """A layer has 4 x 768 + 3072 + 768 biases of linear maps and 2 x 768 of norms; the embeddings' norm and the pooler
    have 768 each: 12 x 8,448 + 1,536 = 102,912, which is the 0.1M (0.09%) of arXiv:2106.10199.
    """
    report = inarch.plan(bert_base(), "bitfit").report()
    assert report.trainable_added == 102_912
    backbone = report.base - report.trainable_head
    assert round(100 * report.trainable_added / backbone, 2) == 0.09


def test_bitfit_has_the_gradients_of_the_biases_themselves() -> None:
    family = FAMILIES["bert"]
    shifted, direct = family.model(), family.model()
    adapter = inarch.attach(shifted, "bitfit")
    for model in (shifted, direct):
        model(**family.batch()).loss.backward()
    biases = dict(direct.named_parameters())
    for name, parameter in adapter.named_parameters():
        torch.testing.assert_close(parameter.grad, biases[name].grad)
    assert {name for name in biases if name.endswith(".bias")} == {
        name for name, _ in adapter.named_parameters() if name.endswith(".bias")
    }


@pytest.mark.parametrize("key", ["causal-lm/mamba", "causal-lm/mamba2", "causal-lm/jamba"])
def test_bitfit_trains_biases_that_are_read_without_a_call_themselves(key: str) -> None:
    """Mamba reads the weight and the bias of its convolution, and calls neither it nor its step projection."""
    model, direct = made(key), made(key)
    biases = {name for name, _ in model.named_parameters() if name.endswith("conv1d.bias")}
    assert biases
    plan = inarch.plan(model, "bitfit")
    assert biases <= set(plan.trained)
    adapter = inarch.attach(model, "bitfit")
    tokens = torch.arange(3, 19).reshape(2, 8)
    for each in (model, direct):
        each(input_ids=tokens, labels=tokens).loss.backward()
    found = dict(adapter.named_parameters())
    expected = dict(direct.named_parameters())
    for name in biases:
        assert expected[name].grad.any()
        torch.testing.assert_close(found[name].grad, expected[name].grad)


def test_full_trains_every_parameter_once() -> None:
    for name in ("bert", "gpt2"):  # gpt2 ties its output embedding
        model = FAMILIES[name].model()
        count = sum(parameter.numel() for parameter in model.parameters())
        assert inarch.attach(model, "full").num_trainable == count


def test_full_keeps_tied_weights_tied() -> None:
    model = FAMILIES["gpt2"].model()
    adapter = inarch.attach(model, "full")
    assert model.lm_head.weight is model.transformer.wte.weight
    perturb(adapter)
    adapter.detach()
    assert model.lm_head.weight is model.transformer.wte.weight


def test_full_can_be_narrowed() -> None:
    adapter = inarch.attach(FAMILIES["gpt2"].model(), "full", parameters=("*.ln_1.*",))
    assert adapter.num_trainable == 2 * 2 * 32


def test_head_trains_the_new_head_alone() -> None:
    adapter = inarch.attach(FAMILIES["bert"].model(), "head")
    assert [name for name, _ in adapter.named_parameters()] == ["classifier.weight", "classifier.bias"]
