"""What a model takes beside text, where its signature does not say it: data, and nothing else."""

from dataclasses import dataclass
from typing import Any

ROWS = 2


@dataclass(frozen=True)
class Normal:
    """Drawn from the normal distribution.

    Attributes:
        shape: Of the tensor.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Whole:
    """Whole numbers drawn evenly.

    Attributes:
        low: The smallest.
        high: One more than the largest.
        shape: Of the tensor.
    """

    low: int
    high: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Full:
    """One value everywhere.

    Attributes:
        value: The value; a bool gives a mask.
        shape: Of the tensor.
    """

    value: bool | int | float
    shape: tuple[int, ...]


ONE_IMAGE_EACH = Normal((ROWS, 1, 3, 32, 32))
TILES = {"pixel_values": Normal((ROWS, 2, 3, 32, 32)), "image_sizes": [[32, 32]] * ROWS}
PACKED = {"pixel_values": Normal((1, 3, 8, ROWS * 16 * 8)), "target_sizes": [[4, 4]] * ROWS}
CODES = {"input_ids": Whole(64, 128, (ROWS * 4, 8)), "labels": Whole(64, 128, (ROWS, 8, 4))}
HEARD = {"input_features_mask": Full(1, (ROWS, 256))}
GRID = [[x, y] for x in range(4) for y in range(4)]

INPUTS: dict[str, dict[str, Any]] = {
    "image-classification/imagegpt": {"input_ids": Whole(64, 128, (ROWS, 8)), "pixel_values": None},
    "image-classification/shieldgemma2": {"labels": None},
    "causal-lm/musicgen": CODES,
    "causal-lm/musicgen_melody": CODES,
    "siglip2": {
        "pixel_values": Normal((ROWS, 16, 192)),
        "pixel_attention_mask": Full(1, (ROWS, 16)),
        "spatial_shapes": [[4, 4]] * ROWS,
    },
    # Images and text
    "deepseek_vl_hybrid": {"high_res_pixel_values": Normal((ROWS, 3, 32, 32))},
    "fuyu": {"pixel_values": Normal((ROWS, 16, 192))},
    "gemma4": {"pixel_values": Normal((ROWS, 16, 192)), "image_position_ids": [GRID] * ROWS},
    "gemma4_unified": {"pixel_values": Normal((ROWS, 16, 1728)), "image_position_ids": [GRID] * ROWS},
    "granite4_vision": TILES,
    "granite_docling": {"pixel_values": ONE_IMAGE_EACH, "pixel_attention_mask": Full(True, (ROWS, 1))},
    "idefics": {"pixel_values": ONE_IMAGE_EACH, "image_attention_mask": Full(1, (ROWS, 8, 1))},
    "idefics2": {"pixel_values": ONE_IMAGE_EACH},
    "idefics3": {"pixel_values": ONE_IMAGE_EACH},
    "modernvbert": {"pixel_values": ONE_IMAGE_EACH},
    "ultravbert": {"pixel_values": ONE_IMAGE_EACH},
    "instructblip": {"qformer_input_ids": Whole(64, 128, (ROWS, 4)), "qformer_attention_mask": Full(1, (ROWS, 4))},
    "instructblipvideo": {
        "pixel_values": Normal((ROWS, 1, 3, 32, 32)),
        "qformer_input_ids": Whole(64, 128, (ROWS, 4)),
        "qformer_attention_mask": Full(1, (ROWS, 4)),
    },
    "inkling2": {"pixel_values": Normal((ROWS * 4, 16, 16, 3)), "image_grid_thw": [[1, 2, 2]] * ROWS},
    "inkling_mm_model": {"pixel_values": Normal((ROWS, 2, 8, 8, 3))},
    "kosmos-2": {"image_embeds_position_mask": [[1, 1, 1, 1, 0, 0, 0, 0]] * ROWS},
    "kimi_k25": {"pixel_values": Normal((ROWS * 16, 3, 8, 8))},
    "lfm2_vl": {
        "pixel_values": Normal((ROWS, 16, 192)),
        "pixel_attention_mask": Full(1, (ROWS, 16)),
        "spatial_shapes": [[4, 4]] * ROWS,
    },
    "llava": {"image_sizes": None},
    "llava_next": TILES,
    "llava_next_video": TILES,
    "llava_onevision": TILES,
    "minicpm_ocr": PACKED,
    "minicpmv4_6": PACKED,
    "minicpmv4_7": PACKED,
    "mllama": {
        "pixel_values": Normal((ROWS, 1, 4, 3, 32, 32)),
        "aspect_ratio_ids": Full(6, (ROWS, 1)),
        "aspect_ratio_mask": Full(1, (ROWS, 1, 4)),
        "cross_attention_mask": Full(1, (ROWS, 8, 1, 4)),
    },
    "molmo2": {
        "pixel_values": Normal((ROWS, 16, 192)),
        "image_token_pooling": [[4 * token + patch for patch in range(4)] for token in range(4 * ROWS)],
        "image_grids": [[2, 2, 0, 0]] * ROWS,
    },
    "phi4_multimodal": {
        "image_pixel_values": Normal((ROWS, 2, 3, 32, 32)),
        "image_sizes": [[32, 32]] * ROWS,
        "image_attention_mask": Full(1, (ROWS, 2, 4, 4)),
    },
    "pi0": {
        "state": Normal((ROWS, 32)),
        "actions": Normal((ROWS, 8, 32)),
        "pixel_values": ONE_IMAGE_EACH,
        "pixel_attention_mask": Full(True, (ROWS, 1)),
        "labels": None,
    },
    "udop": {"bbox": Full(0.5, (ROWS, 8, 4))},
    "evolla": {"protein_input_ids": Whole(4, 24, (ROWS, 8)), "protein_attention_mask": Full(1, (ROWS, 8))},
    "neomme": {"pixel_values": Normal((ROWS * 16, 192))},
    "paddleocr_vl": {"pixel_values": Normal((ROWS * 16, 3, 8, 8))},
    "nemotron_h_omni": {"pixel_values": Normal((ROWS * 16, 192)), "image_grid_hw": [[4, 4]] * ROWS},
    "pix2struct": {
        # the first two numbers of a patch are its row and its column
        "flattened_patches": [[[*place, *(((7 * sum(place) + k) % 5) / 5 for k in range(32))] for place in GRID]]
        * ROWS,
        "pixel_values": None,
    },
    "smolvlm": {"pixel_values": ONE_IMAGE_EACH},
    "video_llama_3": {"image_merge_sizes": [2] * ROWS},
    # Sound
    "audioflamingo3": HEARD,
    "glmasr": HEARD,
    "moss_transcribe_diarize": HEARD | {"padding_mask": Full(1, (ROWS, 256))},
    "musicflamingo": HEARD,
    "nemo_speechlm": {"input_features": Normal((ROWS, 32, 16)), "input_features_mask": Full(1, (ROWS, 32))},
    "qwen2_audio": {"feature_attention_mask": Full(1, (ROWS, 256))},
    "audio-spectrogram-transformer": {"input_values": Normal((ROWS, 32, 16))},
    "canary": {"input_features": Normal((ROWS, 64, 16))},
    "cohere_asr": {"input_features": Normal((ROWS, 64, 16))},
    "dia": {"decoder_input_ids": Whole(64, 128, (ROWS, 4, 9)), "labels": Whole(64, 128, (ROWS * 9, 4))},
    "fun_asr_nano": {"input_features": Normal((ROWS, 8, 112)), "input_features_mask": Full(1, (ROWS, 8))},
    "granite_speech": {"input_features": Normal((ROWS, 16, 160))},
    "granite_speech_plus": {"input_features": Normal((ROWS, 16, 160))},
    "kyutai_speech_to_text": {"input_ids": Whole(64, 128, (ROWS, 8, 5))},
    "pop2piano": {"input_features": Normal((ROWS, 8, 32)), "input_ids": None},
    "qwen3_asr": {"input_features": Normal((ROWS, 16, 100)), "input_features_mask": Full(1, (ROWS, 100))},
    "seamless_m4t": {"input_features": Normal((ROWS, 16, 160)), "attention_mask": Full(1, (ROWS, 16))},
    "seamless_m4t_v2": {"input_features": Normal((ROWS, 16, 160)), "attention_mask": Full(1, (ROWS, 16))},
    "vibevoice": {"input_values": Normal((ROWS, 1, 6400)), "padding_mask": Full(True, (ROWS, 6400))},
    "vibevoice_asr": {"input_values": Normal((ROWS, 1, 6400)), "padding_mask": Full(True, (ROWS, 6400))},
    "voxtral_realtime": {
        "input_ids": Whole(64, 128, (ROWS, 4)),
        "attention_mask": Full(1, (ROWS, 4)),
        "labels": Whole(64, 128, (ROWS, 4)),
    },
    "speech_to_text": {"input_features": Normal((ROWS, 32, 16))},
    "wav2vec2-bert": {"input_features": Normal((ROWS, 16, 160))},
}
"""The inputs of a model type by name: how each is drawn, or its very values; ``None`` leaves one out."""

MEDIA_TOKENS = {"granite4_vision": 10, "musicflamingo": 64, "phi4_multimodal": 13, "pi0": 16, "qwen2_audio": 64}
"""How many tokens of text an image of a model type takes the place of, where the model does not say it."""
