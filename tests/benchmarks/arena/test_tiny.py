import pytest
import torch

from inarch_benchmarks.arena.catalogue import Entry, entries
from inarch_benchmarks.arena.observe import loss_of
from inarch_benchmarks.arena.tiny import tiny_config

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
