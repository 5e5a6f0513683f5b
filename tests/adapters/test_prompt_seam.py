"""Vectors among the embedded tokens: what a prompt changes in a model, and what it must not."""

import copy
import warnings
from typing import Any

import pytest
import torch
import transformers
from torch import nn

import inarch
from inarch.adapters.prompt_path import prompt_path
from inarch.adapters.prompt_seam import prompt_length
from inarch.errors import ConfigError, TargetError
from inarch_plugins.prompt import PromptTuning

from families import FAMILIES, assert_same, perturb, snapshot
from prompted import GREEDY, IDS, LENGTH, TOKENS, attached, close, embedded, padded, vectors
from readers import DECODERS, ENCODERS, EVERY, PAIRS, SIZES, answer, of_sizes


@pytest.mark.parametrize("name", DECODERS)
def test_is_what_embedded_vectors_before_the_tokens_are(name: str) -> None:
    """The whole of a decoder's prompt, by hand: [P; X] through the model, and the answers at X."""
    model, adapter = attached(DECODERS[name])
    ours = answer(model, input_ids=IDS, attention_mask=torch.ones_like(IDS))
    by_hand = torch.cat([vectors(adapter).unsqueeze(0), embedded(model)], 1)
    adapter.detach()
    close(ours, answer(model, inputs_embeds=by_hand)[:, LENGTH:])


@pytest.mark.parametrize("name", ["bert", "albert", "deberta"])
def test_stands_after_the_token_that_is_pooled(name: str) -> None:
    """[CLS]; P; X of an encoder whose pooler reads its first state."""
    model, adapter = attached(ENCODERS[name])
    ours = answer(model, input_ids=IDS)
    tokens = embedded(model)
    by_hand = torch.cat([tokens[:, :1], vectors(adapter).unsqueeze(0), tokens[:, 1:]], 1)
    adapter.detach()
    theirs = answer(model, inputs_embeds=by_hand)
    close(ours, torch.cat([theirs[:, :1], theirs[:, 1 + LENGTH :]], 1))


def test_the_pooled_token_is_found() -> None:
    """BERT pools its first state within the module that embeds; CLIP the one of the largest id, by its place."""
    model, _ = attached(ENCODERS["bert"])
    with torch.no_grad():
        result = model(input_ids=IDS)
        close(result.pooler_output, model.pooler(result.last_hidden_state))
    clip, _ = attached(of_sizes("CLIPTextModel", config="CLIPTextConfig", max_position_embeddings=20, eos_token_id=2))
    with torch.no_grad():
        result = clip(input_ids=torch.tensor([[5, 6, 7, 63, 0]]))
    close(result.pooler_output, result.last_hidden_state[:, 3])


def test_of_a_pair_it_stands_in_the_encoder() -> None:
    """[P; X] through T5's encoder, whose states the decoder attends to, the prompt's among them."""
    model, adapter = attached(PAIRS["t5"])
    ours = answer(model, input_ids=IDS, attention_mask=torch.ones_like(IDS))
    by_hand = torch.cat([vectors(adapter).unsqueeze(0), embedded(model)], 1)
    adapter.detach()
    close(ours, answer(model, inputs_embeds=by_hand))


@pytest.mark.parametrize("name", EVERY)
def test_padding_on_the_right_changes_no_answer(name: str) -> None:
    model, _ = attached(EVERY[name])
    plain = answer(model, input_ids=IDS, attention_mask=torch.ones_like(IDS))
    more = answer(model, **padded(model, 4, left=False))
    close(more[:, : plain.shape[1]], plain)
    close(answer(model, input_ids=IDS), plain)


# BART's encoder takes no positions, and counts padding on the left as tokens without a prompt as well.
@pytest.mark.parametrize("name", [name for name in EVERY if name != "bart"])
def test_padding_on_the_left_changes_no_answer(name: str) -> None:
    model, _ = attached(EVERY[name])
    plain = answer(model, input_ids=IDS, attention_mask=torch.ones_like(IDS))
    more = answer(model, **padded(model, 4, left=True))
    close(more[:, -plain.shape[1] :], plain)


def test_rows_of_a_batch_are_padded_each_in_its_own_way() -> None:
    model, _ = attached(DECODERS["gpt2"])
    left, right = padded(model, 2, left=True), padded(model, 2, left=False)
    whole = {"input_ids": torch.arange(7).unsqueeze(0) + 3, "attention_mask": torch.ones(1, 7, dtype=torch.long)}
    together = {key: torch.cat([left[key], right[key], whole[key]]) for key in left}
    plain = answer(model, input_ids=IDS)
    answers = answer(model, **together)
    close(answers[0, 2:], plain[0])
    close(answers[1, :TOKENS], plain[0])
    close(answers[2:], answer(model, **whole))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma", "t5"])
def test_embedded_tokens_may_be_given(name: str) -> None:
    model, _ = attached(EVERY[name])
    given = padded(model, 2, left=True)
    ids = given.pop("input_ids")
    close(answer(model, inputs_embeds=embedded(model, ids), **given), answer(model, input_ids=ids, **given))


def test_positions_may_be_given() -> None:
    model, _ = attached(DECODERS["gpt2"])
    given = padded(model, 2, left=True)
    positions = torch.tensor([[0, 0, 0, 1, 2, 3, 4]])
    close(answer(model, **given, position_ids=positions)[:, 2:], answer(model, **given)[:, 2:])
    shifted = answer(model, input_ids=IDS, position_ids=torch.arange(TOKENS).unsqueeze(0) + 4)
    assert not torch.allclose(shifted, answer(model, input_ids=IDS))


def test_whatever_has_a_value_for_each_token_gets_longer() -> None:
    """Token types: by hand the prompt has those of the first token."""
    model, adapter = attached(ENCODERS["bert"])
    types = torch.tensor([[1, 1, 0, 0, 1]])
    ours = answer(model, input_ids=IDS, token_type_ids=types)
    assert not torch.allclose(ours, answer(model, input_ids=IDS))
    tokens = embedded(model)
    by_hand = torch.cat([tokens[:, :1], vectors(adapter).unsqueeze(0), tokens[:, 1:]], 1)
    adapter.detach()
    longer = torch.cat([types[:, :1].expand(-1, 1 + LENGTH), types[:, 1:]], 1)
    theirs = answer(model, inputs_embeds=by_hand, token_type_ids=longer)
    close(ours[:, 1:], theirs[:, 1 + LENGTH :])


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_loss_is_over_the_same_targets(name: str) -> None:
    """By hand with labels of -100 for the prompt; a decoder's first token, which no token precedes, is no target."""
    model, adapter = attached(EVERY[name])
    with torch.no_grad():
        ours = model(input_ids=IDS, labels=IDS).loss
    by_hand = torch.cat([vectors(adapter).unsqueeze(0), embedded(model)], 1)
    adapter.detach()
    labels = torch.cat([torch.full((1, LENGTH + 1), -100), IDS[:, 1:]], 1) if name == "llama" else IDS
    with torch.no_grad():
        torch.testing.assert_close(ours, model(inputs_embeds=by_hand, labels=labels).loss, rtol=1e-6, atol=0)


def test_a_classifier_finds_the_last_token() -> None:
    """It looks for the last id that is no padding, in the ids that it was given itself."""
    model, _ = attached(of_sizes("LlamaForSequenceClassification", num_key_value_heads=2, pad_token_id=0))
    plain = answer(model, input_ids=IDS)
    for left in (False, True):
        close(answer(model, **padded(model, 3, left=left)), plain)
    with torch.no_grad():
        states = model.model(input_ids=IDS).last_hidden_state
    close(plain, model.score(states[:, -1]).detach())


def test_more_tokens_than_positions_are_refused() -> None:
    """GPT-2 here has 32 positions; OPT and RoBERTa have some that no token takes."""
    model, _ = attached(DECODERS["gpt2"])
    answer(model, input_ids=torch.ones(1, 29, dtype=torch.long))
    with pytest.raises(
        ConfigError, match=r"30 tokens and a prompt of 3 are 33, and the model has 32 positions: .* 29 tokens"
    ):
        answer(model, input_ids=torch.ones(1, 30, dtype=torch.long))
    for make, most in ((DECODERS["opt"], 40), (ENCODERS["roberta"], 38)):
        model, _ = attached(make)
        answer(model, input_ids=torch.full((1, most - LENGTH), 5))
        with pytest.raises(ConfigError, match=f"the model has {most} positions"):
            answer(model, input_ids=torch.full((1, most - LENGTH + 1), 5))


def test_models_without_tokens_are_refused() -> None:
    for model in (FAMILIES["vit"].model(), nn.Sequential(nn.Linear(4, 4))):
        before = snapshot(model)
        with pytest.raises(TargetError, match="embeds no tokens"):
            inarch.attach(model, PromptTuning(length=LENGTH))
        assert_same(before, snapshot(model))


def test_hidden_states_are_at_the_tokens() -> None:
    for name in ("llama", "bert"):
        model, _ = attached(EVERY[name])
        with torch.no_grad():
            result = model(input_ids=IDS, output_hidden_states=True)
            bare = model(input_ids=IDS, output_hidden_states=True, return_dict=False)
        assert [tuple(states.shape) for states in result.hidden_states] == [(1, TOKENS, 32)] * 3
        assert bare[0].shape[1] == TOKENS


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_checkpointing_changes_no_gradient(name: str) -> None:
    make = EVERY[name] if name != "bert" else FAMILIES["bert"].model
    batch = FAMILIES[name].batch()
    gradients = []
    for checkpointing in (False, True):
        model, adapter = attached(make)
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        model(**batch).loss.backward()
        gradients.append(adapter.modules[""].vectors.grad)
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_vectors_by_hand() -> None:
    model, adapter = attached(PAIRS["t5"])
    batch = FAMILIES["t5"].batch()
    model(**batch).loss.backward()
    free = vectors(adapter).clone().requires_grad_()
    by_hand = torch.cat([free.expand(2, -1, -1), embedded(model, batch["input_ids"])], 1)
    ours = adapter.modules[""].vectors.grad
    adapter.detach()
    model(inputs_embeds=by_hand, labels=batch["labels"]).loss.backward()
    torch.testing.assert_close(ours, free.grad, rtol=1e-5, atol=1e-9)  # the loss is computed in float32


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_leaves_no_trace(name: str) -> None:
    model = EVERY[name]().double()
    before, plain = snapshot(model), answer(model, input_ids=IDS)
    adapter = inarch.attach(model, PromptTuning(length=LENGTH))
    other = inarch.attach(model, PromptTuning(length=2), name="other")
    assert prompt_length(model) == LENGTH + 2
    changed = answer(model, input_ids=IDS)
    assert not torch.allclose(changed, plain)
    with adapter.disabled(), other.disabled():
        assert prompt_length(model) == 0
        assert torch.equal(answer(model, input_ids=IDS), plain)
    assert torch.equal(answer(model, input_ids=IDS), changed)
    adapter.detach()
    assert prompt_length(model) == 2
    other.detach()
    assert torch.equal(answer(model, input_ids=IDS), plain)
    assert_same(before, snapshot(model))


def test_several_stand_in_the_order_they_came() -> None:
    model, adapter = attached(DECODERS["llama"])
    other = inarch.attach(model, PromptTuning(length=2), name="other")
    ours = answer(model, input_ids=IDS)
    both = torch.cat([vectors(adapter), vectors(other)])
    by_hand = torch.cat([both.unsqueeze(0), embedded(model)], 1)
    adapter.detach()
    other.detach()
    close(ours, answer(model, inputs_embeds=by_hand)[:, 5:])


def test_a_failed_pass_leaves_nothing() -> None:
    model, _ = attached(DECODERS["gpt2"])
    plain = answer(model, input_ids=IDS)
    with pytest.raises(IndexError):
        answer(model, input_ids=IDS + 1000)
    longer = torch.ones(1, TOKENS + LENGTH, dtype=torch.long)
    table = model.transformer.wte.weight.detach()
    assert torch.equal(embedded(model, longer), nn.functional.embedding(longer, table))
    assert torch.equal(answer(model, input_ids=IDS), plain)


def test_a_copy_has_its_own_prompt() -> None:
    model, adapter = attached(DECODERS["llama"])
    ours = answer(model, input_ids=IDS)
    twin = copy.deepcopy(model)
    perturb(inarch.adapters(twin)["default"])
    assert torch.equal(answer(model, input_ids=IDS), ours)
    assert not torch.equal(answer(twin, input_ids=IDS), ours)
    adapter.detach()
    assert not torch.equal(answer(twin, input_ids=IDS), answer(model, input_ids=IDS))
    inarch.adapters(twin)["default"].detach()
    assert torch.equal(answer(twin, input_ids=IDS), answer(model, input_ids=IDS))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_compiles_and_exports(name: str) -> None:
    torch.compiler.reset()
    model, adapter = attached(EVERY[name])
    inputs = padded(model, 2, left=True)
    if name == "t5":
        inputs["decoder_input_ids"] = torch.tensor([[3, 4, 5]])
    if name != "bert":
        inputs["use_cache"] = False
    with torch.no_grad():
        ours = model(**inputs)[0]
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        close(compiled(**inputs)[0], ours)
        close(torch.export.export(model, (), inputs, strict=False).module()(**inputs)[0], ours)
        with adapter.disabled():
            close(compiled(**inputs)[0], model(**inputs)[0])


def test_within_a_model_of_images_and_text() -> None:
    """The text model is given embedded tokens, with those of the image among them."""
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=8, patch_size=4
    )
    text = transformers.LlamaConfig(num_key_value_heads=2, **SIZES)
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_id=60)
    model, adapter = attached(lambda: transformers.LlavaForConditionalGeneration(config).eval())
    inputs = {
        "input_ids": torch.tensor([[5, 60, 60, 60, 60, 7, 8]]),
        "attention_mask": torch.ones(1, 7, dtype=torch.long),
        "pixel_values": torch.randn(1, 3, 8, 8, dtype=torch.float64),
    }
    path = prompt_path(model)
    assert path is not None
    assert path.reader is model.get_decoder()
    seen: dict[str, Any] = {}
    hook = path.reader.layers[0].register_forward_pre_hook(lambda module, args: seen.update(states=args[0]))
    answers = answer(model, **inputs)
    hook.remove()
    assert answers.shape[1] == 7
    close(seen["states"][0, :LENGTH], vectors(adapter))
    close(seen["states"][0, LENGTH], embedded(model, inputs["input_ids"][:, :1])[0, 0])
    assert torch.equal(model.generate(**inputs, **GREEDY), model.generate(**inputs, **GREEDY, use_cache=False))


def test_in_peft_it_is_the_same() -> None:
    """peft's prompt tuning, given the same vectors, on unpadded rows and on rows padded on the right."""
    import peft

    for name in ("llama", "gpt2"):
        model, adapter = attached(DECODERS[name])
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LENGTH)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = peft.get_peft_model(DECODERS[name]().double(), config).eval()
        with torch.no_grad():
            theirs.prompt_encoder["default"].embedding.weight = nn.Parameter(vectors(adapter))
        for inputs in ({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}, padded(model, 3, left=False)):
            count = inputs["input_ids"].shape[1]
            with torch.no_grad():
                answers = theirs(**inputs).logits
            assert answers.shape[1] == LENGTH + count
            close(answer(model, **inputs)[:, :TOKENS], answers[:, LENGTH : LENGTH + TOKENS])
