"""A tiny batch for any model, from its task, its config and what its forward takes."""

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inarch_benchmarks.arena.inputs import INPUTS, MEDIA_TOKENS, ROWS, Full, Normal, Whole
from inarch_benchmarks.arena.sizes import SPECIAL, TOKENS, VOCABULARY

if TYPE_CHECKING:
    from inarch_benchmarks.arena.catalogue import Entry

LENGTH = 8
"""Tokens of text in a row."""

SAMPLES = 2000
"""Samples of a waveform."""


def tiny_batch(entry: "Entry", seed: int) -> dict[str, Tensor]:
    """What ``entry``'s model takes, with labels: the same for the same seed."""
    torch.manual_seed(seed)
    taken = frozenset(inspect.signature(entry.model_class.forward).parameters)
    config = entry.config()
    inputs = INPUTS.get(entry.key, {}) | INPUTS.get(entry.model_type, {})
    dropped = {name for name, value in inputs.items() if value is None}
    own = {name: _drawn(value) for name, value in inputs.items() if value is not None}
    media = {name: value for name, value in (_media(entry.task, config, taken) | own).items() if name not in dropped}
    tokens = _media_tokens(entry, media) if media and "input_ids" in taken else 0
    if entry.task in ("image-classification", "audio-classification") and not tokens:
        return media | {"labels": torch.tensor([0, 2])}
    text = _text(entry.task, config, taken, tokens // ROWS)
    return {name: value for name, value in (text | media).items() if name not in dropped}


def _drawn(value: Any) -> Tensor:
    """A tensor as the data describes it."""
    match value:
        case Normal(shape):
            return torch.randn(shape)
        case Whole(low, high, shape):
            return torch.randint(low, high, shape)
        case Full(value, shape):
            return torch.full(shape, value)
    return torch.tensor(value)


def _media(task: str, config: Any, taken: frozenset[str]) -> dict[str, Tensor]:
    """Images or sound as most models take them; those that have a tower for them take them beside text too."""
    if task in ("image-classification", "image-text-to-text") or _has(config, "vision_config"):
        return _images(config, taken)
    if task in ("audio-classification", "speech-seq2seq") or _has(config, "audio_config"):
        return _sound(config, taken)
    return {}


def _has(config: Any, part: str) -> bool:
    """Whether a config has the config of this part."""
    return getattr(config, part, None) is not None


def _images(config: Any, taken: frozenset[str]) -> dict[str, Tensor]:
    vision = getattr(config, "vision_config", None) or config
    if "image_grid_thw" in taken:
        return _patches(vision)
    side = getattr(vision, "image_size", 32)
    height, width = side if isinstance(side, list | tuple) else (side, side)
    images = {"pixel_values": torch.randn(ROWS, getattr(vision, "num_channels", 3), height, width)}
    if "image_sizes" in taken:
        images["image_sizes"] = torch.tensor([[height, width]] * ROWS)
    return {name: value for name, value in images.items() if name in taken}


def _patches(vision: Any) -> dict[str, Tensor]:
    """Images cut into 4 x 4 patches, each flattened to a vector."""
    channels = int(getattr(vision, "in_channels", 0) or getattr(vision, "num_channels", 3))
    frames = int(getattr(vision, "temporal_patch_size", 0) or getattr(vision, "patch_temporal", 1))
    width = channels * frames * vision.patch_size**2
    return {
        "pixel_values": torch.randn(ROWS * 16, width),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * ROWS),
    }


def _sound(config: Any, taken: frozenset[str]) -> dict[str, Tensor]:
    if "input_values" in taken:
        return {"input_values": torch.randn(ROWS, SAMPLES)}
    encoder = getattr(config, "audio_config", None) or getattr(config, "encoder_config", None) or config
    frames = 2 * getattr(encoder, "max_source_positions", 16)
    return {"input_features": torch.randn(ROWS, getattr(encoder, "num_mel_bins", 16), frames)}


def _media_tokens(entry: "Entry", media: dict[str, Tensor]) -> int:
    """How many tokens of text the model replaces by what it has seen or heard."""
    if entry.model_type in MEDIA_TOKENS:
        return ROWS * MEDIA_TOKENS[entry.model_type]
    model = entry.model()
    methods = [
        getattr(part, name)
        for name in ("get_image_features", "get_audio_features")
        for part in (getattr(model, "model", None), model)
        if hasattr(part, name) and inspect.signature(getattr(part, name)).parameters.keys() & media.keys()
    ]
    if not methods:
        return 0
    accepted = inspect.signature(methods[0]).parameters
    with torch.no_grad():
        sensed = methods[0](**{name: value for name, value in media.items() if name in accepted})
    pooled = getattr(sensed, "pooler_output", None)
    features = getattr(sensed, "last_hidden_state", sensed) if pooled is None else pooled
    features = features if isinstance(features, list | tuple) else [features]
    return sum(each.numel() // each.shape[-1] for each in features)


def _text(task: str, config: Any, taken: frozenset[str], media_tokens: int) -> dict[str, Tensor]:
    """Rows of text that end with the end of a sequence, the tokens of an image before them."""
    ids = torch.randint(SPECIAL, VOCABULARY, (ROWS, LENGTH))
    ids[:, -1] = TOKENS["eos_token_id"]
    where = torch.full((ROWS, media_tokens), _media_token(config))
    labels = torch.cat([torch.full_like(where, -100), ids], dim=1)
    ids = torch.cat([where, ids], dim=1)
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if media_tokens and "mm_token_type_ids" in taken:
        text["mm_token_type_ids"] = (labels == -100).long()
    if task.endswith("classification"):
        labels = torch.tensor([0, 2])
    text["labels"] = labels
    return {name: value for name, value in text.items() if name in taken or name == "labels"}


def _media_token(config: Any) -> int:
    """The token that stands where an image or a sound is."""
    names = [f"{kind}_token_{end}" for kind in ("image", "audio", "video") for end in ("id", "index")]
    places = [config, getattr(config, "vision_config", None)]
    found = (getattr(place, name, None) for place in places for name in names)
    return next((token for token in found if token is not None), 0)
