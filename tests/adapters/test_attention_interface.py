"""What transformers does with a model, with prefixes in its attention."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, MistralConfig
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask
from transformers.modeling_utils import AttentionInterface

from inarch import ModelError

from attentions import EXACT, INTERFACE, attach, precise, road, text  # noqa: F401 - a fixture
from families import FAMILIES, logits


def test_a_failing_forward_leaves_nothing_watched(road: str) -> None:
    model, batch = precise(FAMILIES["llama"])
    attach(model)
    with pytest.raises(RuntimeError):
        model(inputs_embeds=torch.randn(2, 6, 31, dtype=torch.float64))
    assert torch._C._len_torch_function_stack() == 0
    assert logits(model, batch).isfinite().all()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_padding_on_the_left_does_not_change_the_answer(name: str, road: str) -> None:
    model, _ = precise(FAMILIES[name])
    attach(model)
    ids = text(rows=1)
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), ids], dim=1)
    mask = (torch.arange(9) >= 3).long()[None]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    answer = logits(model, {"input_ids": padded, "attention_mask": mask, "position_ids": positions})
    torch.testing.assert_close(answer[:, 3:], logits(model, {"input_ids": ids}), **EXACT)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_generates_the_same_with_any_cache(name: str, road: str) -> None:
    model, _ = precise(FAMILIES[name])
    attach(model)
    ids = text(length=5)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    caches: list[dict[str, Any]] = [{"use_cache": False}, {}, {"cache_implementation": "static"}]
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    results = [
        model.generate(  # type: ignore[operator]
            ids,
            attention_mask=mask,
            output_logits=True,
            return_dict_in_generate=True,
            disable_compile=True,
            **settings,
            **cache,
        )
        for cache in caches
    ]
    for result in results[1:]:
        assert torch.equal(result.sequences, results[0].sequences)
        for got, expected in zip(result.logits, results[0].logits, strict=True):
            torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_gradients_under_checkpointing_are_the_same(name: str, road: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model, batch = precise(FAMILIES[name])
        adapter = attach(model)
        if checkpointing:
            model.activation_checkpointing_enable()  # type: ignore[operator]
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model.train()
        torch.manual_seed(0)
        model(**batch, use_cache=False).loss.backward() if name != "bert" else model(**batch).loss.backward()
        gradients.append([parameter.grad for parameter in adapter.parameters()])
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients[0])
    for gradient, expected in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_compiles_whole_and_exports(name: str, road: str) -> None:
    model = FAMILIES[name].model()
    attach(model)
    batch = {"input_ids": text()}
    plain: dict[str, Any] = {} if name == "bert" else {"use_cache": False}
    expected = logits(model, batch)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(logits(compiled, batch | plain), expected)
    program = torch.export.export(model, (), batch | plain, strict=False)
    torch.testing.assert_close(program.module()(**batch, **plain).logits, expected)


def test_half_precision_keeps_its_dtype(road: str) -> None:
    model = FAMILIES["llama"].model().bfloat16()
    adapter = attach(model)
    assert all(parameter.dtype == torch.float32 for parameter in adapter.parameters())
    assert logits(model, {"input_ids": text()}).dtype == torch.bfloat16


def test_attention_weights_are_those_of_the_sequence(road: str) -> None:
    model, _ = precise(FAMILIES["llama"])
    model.set_attn_implementation("eager")  # type: ignore[operator]
    attach(model)
    weights = model(input_ids=text(), output_attentions=True).attentions
    assert weights[0].shape == (2, 4, 6, 6)
    assert (weights[0].sum(-1) < 1).all()


# --- a stand-in for flash attention, which needs a GPU: masks are 2-D, causality is aligned to the last key


def _flash(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    late = torch.ones(query.shape[2], key.shape[2]).tril(key.shape[2] - query.shape[2]).bool()
    if attention_mask is not None:
        late = late & attention_mask[:, None, None].bool()
    scores = (query @ key.mT * kwargs["scaling"]).masked_fill(~late, torch.finfo(query.dtype).min)
    return (scores.softmax(-1) @ value).transpose(1, 2), None


@pytest.fixture
def flash() -> Iterator[str]:
    AttentionInterface.register("flash_stand_in", _flash)
    ALL_MASK_ATTENTION_FUNCTIONS.register("flash_stand_in", flash_attention_mask)
    yield "flash_stand_in"
    del (
        AttentionInterface._global_mapping["flash_stand_in"],
        ALL_MASK_ATTENTION_FUNCTIONS._global_mapping["flash_stand_in"],
    )


@pytest.mark.parametrize("padded", [False, True])
def test_a_flash_implementation_gives_the_same(padded: bool, flash: str) -> None:
    model, _ = precise(FAMILIES["llama"])
    attach(model)
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[0, : 2 * padded] = 0
    batch = {"input_ids": text(), "attention_mask": mask}
    expected = logits(model, batch)
    model.config._attn_implementation = flash  # type: ignore[union-attr]
    torch.testing.assert_close(logits(model, batch)[mask.bool()], expected[mask.bool()], **EXACT)


def test_what_would_hide_it_in_flash_attention_is_refused(flash: str) -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = MistralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, sliding_window=3)
    model = AutoModelForCausalLM.from_config(config).eval()
    attach(model)
    model.config._attn_implementation = flash
    with pytest.raises(ModelError, match=r'self_attn calls "flash_stand_in" with sliding_window'):
        model(input_ids=text())


def test_packed_sequences_in_flash_attention_are_refused(flash: str) -> None:
    model = FAMILIES["llama"].model()
    attach(model)
    model.config._attn_implementation = flash  # type: ignore[union-attr]
    whole, packed = torch.arange(6)[None], torch.tensor([[0, 1, 2, 0, 1, 2]])
    with torch.no_grad():
        model(input_ids=text(rows=1), position_ids=whole)
    with pytest.raises(ModelError, match="packed position_ids"):
        model(input_ids=text(rows=1), position_ids=packed)
