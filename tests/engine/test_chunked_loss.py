"""The chunked loss: the same loss and gradients in every kind of language model, without its logits."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import inarch
from inarch.engine.chunked_loss import ChunkedLoss
from inarch.engine.feature import Declined
from inarch.engine.lazy_logits import LazyLogits

from families import FAMILIES, assert_same, perturb, snapshot

VOCABULARY = 512
THREE_ROWS = 3 * VOCABULARY * 4 / 2**20
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def of(name: str, model: str = "ForCausalLM", **settings: Any) -> Callable[[], nn.Module]:
    config, kind = getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}{model}")
    return lambda: kind(config(**{**SIZES, **settings}))


GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "bos_token_id": 0, "eos_token_id": 0}
GPT2_KEEPS = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
MOE = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "output_router_logits": True}
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "dropout": 0.0, "pad_token_id": 0}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": of("Llama"),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=VOCABULARY, **GPT2, **GPT2_KEEPS)),
    "gemma2, softcap": of("Gemma2", head_dim=8, final_logit_softcapping=0.5),
    "cohere, logit scale": of("Cohere", logit_scale=0.3),
    "granite, logits scaling": of("Granite", logits_scaling=3.0),
    "qwen3 moe, auxiliary loss": of("Qwen3Moe", head_dim=8, experts_implementation="eager", **MOE),
    "t5, the loss in the model": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=VOCABULARY, **T5, decoder_start_token_id=0, tie_word_embeddings=False)
    ),
    "bart, a bias afterwards": lambda: transformers.BartForConditionalGeneration(
        transformers.BartConfig(vocab_size=VOCABULARY, **BART, **HEADS, decoder_start_token_id=0)
    ),
    "bert, masked, a head of several layers": of(
        "Bert", "ForMaskedLM", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ),
}


def in_double(logits: Tensor, labels: Tensor, vocab_size: int, num_items_in_batch: Any = None, **kwargs: Any) -> Tensor:
    """transformers' loss for causal language models, which rounds to float32, without that."""
    labels = functional.pad(labels, (0, 1), value=-100)[..., 1:].reshape(-1)
    if num_items_in_batch is None:
        return functional.cross_entropy(logits.view(-1, vocab_size), labels)
    return functional.cross_entropy(logits.view(-1, vocab_size), labels, reduction="sum") / num_items_in_batch


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS[name]().double().eval()
    if not name.startswith(("t5", "bart", "bert")):
        model.loss_function = in_double
    return model


def batch_of(rows: int = 2, length: int = 9) -> dict[str, Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (rows, length))
    labels = ids.clone()
    labels[0, :4] = -100
    return {"input_ids": ids, "labels": labels}


def step(model: nn.Module, batch: dict[str, Any], factor: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients in training mode; no model here drops anything out."""
    model.train()
    model.zero_grad()
    loss = model(**batch).loss
    (factor * loss).backward()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    return loss.detach(), gradients


def assert_equal(found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-10, atol=1e-10)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-10, atol=1e-10, msg=lambda text: f"{name}: {text}")  # noqa: B023


class Largest(TorchDispatchMode):
    """The most elements of a tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [each.numel() for each in tree_leaves(result) if isinstance(each, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("trained", ["everything", "lora on the head"])
def test_loss_and_gradients_are_the_same(name: str, trained: str) -> None:
    model, batch = model_of(name), batch_of()
    if trained == "lora on the head":
        head = next(key for key, each in model.named_modules() if each is model.get_output_embeddings())
        perturb(inarch.attach(model, "lora", rank=2, targets=["@linear", head]))
        model.double()
    expected = step(model, batch, factor=3.0)
    feature = ChunkedLoss(THREE_ROWS)
    assert feature.start(model, batch) == f"the logits, {VOCABULARY} a row, are computed for 3 labelled rows at a time"
    assert_equal(step(model, batch, factor=3.0), expected)
    assert isinstance(model(**batch).logits, LazyLogits)
    feature.stop(model)
    assert not isinstance(model(**batch).logits, LazyLogits)


@pytest.mark.parametrize("name", MODELS)
def test_no_tensor_is_as_large_as_the_logits(name: str) -> None:
    model, batch = model_of(name), batch_of(rows=8, length=16)
    inarch.attach(model, "lora", rank=2, targets=["@linear"])
    logits = 8 * 16 * VOCABULARY

    def largest() -> int:
        with Largest() as mode:
            model.train()
            model(**batch).loss.backward()
        return mode.elements

    assert largest() >= logits
    ChunkedLoss(THREE_ROWS).start(model, batch)
    assert largest() <= logits // 4  # the size of the head's weight


def test_the_number_of_items_is_the_callers() -> None:
    model, batch = model_of("llama"), batch_of() | {"num_items_in_batch": torch.tensor(5)}
    expected = step(model, batch)
    ChunkedLoss(THREE_ROWS).start(model, batch)
    assert_equal(step(model, batch), expected)


def test_transformers_own_loss_in_single_precision() -> None:
    model, batch = model_of("llama").float(), batch_of()
    del model._loss_function
    for more in ({}, {"num_items_in_batch": 5}, {"shift_labels": batch["labels"].roll(-1)}):
        expected = step(model, batch | more)
        feature = ChunkedLoss(THREE_ROWS)
        feature.start(model, batch)
        found = step(model, batch | more)
        feature.stop(model)
        torch.testing.assert_close(found[0], expected[0])
        torch.testing.assert_close(found[1], expected[1])


def test_label_smoothing_is_torch_s() -> None:
    def smoothed(logits: Tensor, labels: Tensor, vocab_size: int, **kwargs: Any) -> Tensor:
        return functional.cross_entropy(logits.view(-1, vocab_size), labels.view(-1), label_smoothing=0.3)

    model, batch = model_of("llama"), batch_of()
    model.loss_function = smoothed
    expected = step(model, batch)
    ChunkedLoss(THREE_ROWS).start(model, batch)
    assert_equal(step(model, batch), expected)


def test_under_autocast_the_loss_has_the_dtype_and_the_gradients_of_autocast() -> None:
    model, batch = MODELS["bart, a bias afterwards"](), batch_of()

    def in_autocast() -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return step(model, batch)

    expected = in_autocast()
    ChunkedLoss(THREE_ROWS).start(model, batch)
    found = in_autocast()
    assert found[0].dtype == expected[0].dtype == torch.float32
    torch.testing.assert_close(found[0], expected[0], rtol=1e-2, atol=0)
    assert {name: each.dtype for name, each in found[1].items()} == {
        name: each.dtype for name, each in expected[1].items()
    }
    flat = [torch.cat([each.flatten() for each in gradients.values()]) for _, gradients in (found, expected)]
    assert functional.cosine_similarity(*flat, dim=0) > 0.999


def test_in_float16_small_gradients_do_not_vanish() -> None:
    """Those of a mean over many rows would, before they are scaled; float64 tells what they are."""
    model, batch = MODELS["llama"](), batch_of(rows=64, length=64)
    exact = step(copy.deepcopy(model).double(), batch)[1]["model.norm.weight"]
    half = model.to(torch.float16)
    ChunkedLoss(THREE_ROWS * 100).start(half, batch)
    found = step(half, batch, factor=2.0**10)[1]["model.norm.weight"].double() / 2.0**10
    assert functional.cosine_similarity(found, exact, dim=0) > 0.999


@pytest.mark.parametrize("case", ["evaluation", "no labels", "no gradients", "labels by place"])
def test_when_logits_are_lazy(case: str) -> None:
    model, batch = model_of("llama"), batch_of()
    ChunkedLoss().start(model, batch)
    model.train(case != "evaluation")
    if case == "labels by place":
        output = model(batch["input_ids"], None, None, None, None, batch["labels"])
    elif case == "no labels":
        output = model(batch["input_ids"])
    else:
        with torch.set_grad_enabled(case != "no gradients"):
            output = model(**batch)
    assert isinstance(output.logits, LazyLogits) == (case == "labels by place")
    assert not isinstance(model.lm_head(torch.randn(2, 32).double()), LazyLogits)


def test_after_an_error_the_head_computes_as_ever() -> None:
    model, batch = model_of("llama").train(), batch_of()
    ChunkedLoss().start(model, batch)
    with pytest.raises(AttributeError):
        model(**batch, attention_mask="wrong")
    assert not isinstance(model.lm_head(torch.randn(2, 32).double()), LazyLogits)


def test_the_lazy_logits_of_the_output_can_be_materialised() -> None:
    model, batch = model_of("gemma2, softcap").train(), batch_of()
    expected = model(**batch).logits
    ChunkedLoss().start(model, batch)
    torch.testing.assert_close(model(**batch).logits.materialise(), expected)
    with pytest.raises(inarch.TrainingError, match="argmax needs them"):
        model(**batch).logits.argmax(-1)


def test_without_any_label_the_loss_is_torch_s() -> None:
    model, batch = model_of("llama"), batch_of()
    ChunkedLoss().start(model, batch)
    batch["labels"].fill_(-100)
    assert step(model, batch)[0].isnan()


def test_stop_gives_the_model_back() -> None:
    for name in MODELS:
        model, batch = model_of(name), batch_of()
        model(**batch)  # some of transformers' models set up hooks of their own in the first call
        before = snapshot(model)
        feature = ChunkedLoss()
        feature.start(model, batch)
        with pytest.raises(Declined, match="lazy already"):
            ChunkedLoss().start(model, batch)
        feature.stop(model)
        assert_same(before, snapshot(model))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_lazy_with_its_own_head(duplicate: Any) -> None:
    model, batch = model_of("llama"), batch_of()
    expected = step(model, batch)
    ChunkedLoss(THREE_ROWS).start(model, batch)
    other = duplicate(model)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert_equal(step(other, batch), expected)
    assert isinstance(other(**batch).logits, LazyLogits)


def test_rows_that_are_routed_to_several_adapters_are_not_taken_apart() -> None:
    model, batch = model_of("llama"), batch_of()
    for name in ("one", "two"):
        perturb(inarch.attach(model, "lora", name=name, rank=2, targets=["lm_head"]), seed=len(name) + ord(name[0]))
    model.double().train()
    ChunkedLoss(THREE_ROWS).start(model, batch)
    with inarch.route(model, ["one", "two"]):
        output = model(**batch)
    assert not isinstance(output.logits, LazyLogits)


@pytest.mark.thorough
def test_compiled_code_computes_logits() -> None:
    model, batch = MODELS["llama"](), batch_of()
    expected = step(model, batch)
    ChunkedLoss(THREE_ROWS).start(model, batch)
    compiled = torch.compile(model, backend="eager")
    output = compiled(**batch)
    assert not isinstance(output.logits, LazyLogits)
    torch.testing.assert_close(output.loss.detach(), expected[0])


def test_what_cannot_be_used_is_declined_and_left() -> None:
    classifier = FAMILIES["bert"].model()
    before = snapshot(classifier)
    with pytest.raises(Declined, match="no output embedding"):
        ChunkedLoss().start(classifier, FAMILIES["bert"].batch())
    assert_same(before, snapshot(classifier))

    def of_probabilities(logits: Tensor, labels: Tensor, vocab_size: int, **kwargs: Any) -> Tensor:
        return -logits.softmax(-1).gather(-1, labels.clamp(min=0)[..., None]).mean()

    def of_nothing(logits: Tensor, labels: Tensor, vocab_size: int, **kwargs: Any) -> Tensor:
        return torch.zeros((), requires_grad=True) * 1

    for loss, reason in (
        (of_probabilities, "TrainingError: .*softmax needs them"),
        (of_nothing, "no cross entropy of"),
    ):
        model = model_of("llama")
        model.loss_function = loss
        before = snapshot(model)
        with pytest.raises(Declined, match=reason):
            ChunkedLoss().start(model, batch_of())
        assert_same(before, snapshot(model))
