"""What the general rules cannot know, by the type of a config: data, and nothing else."""

from typing import Any

MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}

WINDOWED = {"window_size": 32}

OVERRIDES: dict[str, dict[str, Any]] = {
    # Text
    "bamba": {"mamba_d_head": 16, "attn_layer_indices": [1]},
    "big_bird": {"attention_type": "original_full"},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "blt": {"num_hidden_layers": 2},
    "cohere_compass_text": {
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
        }
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "dots1": {"n_shared_experts": 1},
    "dots3_note_text": {
        "num_key_value_heads": 4,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 8,
        "swa_kv_lora_rank": 8,
        "swa_head_dim": 8,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "encoder-decoder": {"decoder_start_token_id": 12, "pad_token_id": 0},
    "esmc": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_head": 16, "mamba_d_ssm": 64},
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
            "num_kv_shared_layers": 2,
        }
    },
    "gemma4_unified_assistant": {"text_config": {"num_kv_shared_layers": 2}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": ["global", "local"]},
    "granitemoehybrid": {"mamba_d_head": 16, "layer_types": ["linear_attention", "full_attention"]},
    "hrm_text": {"num_layers_per_stack": None},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2},
    "lilt": {"hidden_size": 48},
    "mamba2": {"head_dim": 16},
    "mpnet": {"relative_attention_num_buckets": 32},
    "neomme": {"head_dim": 16},
    "perceiver": {"max_position_embeddings": 8},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "axial_pos_shape": (2, 4),
        "hash_seed": 0,
        "axial_pos_embds_dim": (8, 24),
        "hidden_dropout_prob": 0.0,
        "local_attention_probs_dropout_prob": 0.0,
        "lsh_attention_probs_dropout_prob": 0.0,
    },
    "rwkv": {"use_cache": False},
    "xlstm": {"mode": "train", "chunk_size": 8, "use_cache": False},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "num_hidden_layers": 5,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid", "linear_attention", "hybrid"],
    },
    "zaya": {"num_experts_per_tok": 1},
    # Images
    "bit": {"num_groups": 4},
    "cvt": {"depth": (1, 2, 3)},
    "donut-swin": {"patch_size": 2, "window_size": 2},
    # by the usual range, the gradients of narrow convolutions come to less than a float can hold
    **{name: {"initializer_range": 0.3} for name in ("mobilevit", "poolformer")},
    "efficientnet": {
        "width_coefficient": 0.1,
        "depth_coefficient": 1.0,
        "hidden_dim": 128,
        "initializer_range": 0.3,
    },
    "hgnet_v2": {
        "stem_channels": [3, 16, 16],
        "stage_in_channels": [16, 16, 32, 32],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [16, 32, 32, 32],
        "hidden_sizes": [16, 32, 32, 32],
    },
    "levit": {"patch_size": 16, "image_size": 64},
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilevitv2": {"image_size": 64, "initializer_range": 0.3},
    "swin": {"patch_size": 2, "window_size": 2},
    "swinv2": {"patch_size": 2, "window_size": 2},
    "textnet": {"stem_out_channels": 16},
    # Images and text
    "aria": {"projector_patch_to_query_dict": {16: 4}},
    "blip-2": {"image_token_index": 3},
    "chameleon": {
        "vocabulary_map": {
            "<image>": 3,
            **{
                "IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(code)) + "Z": 40 + code
                for code in range(16)
            },
        }
    },
    "chameleon_vqgan": {"channel_multiplier": (1, 1), "resolution": 32, "num_res_blocks": 1},
    "cosmos3_edge_text": {"rope_parameters": MROPE},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"]},
    "deepseek_ocr2_sam_vision_model": {"downsample_channels": [16, 32]},
    "diffusion_gemma_text": {"moe_intermediate_size": 48, "top_k_experts": 2},
    "emu3": {
        "vocabulary_map": {
            "<image>": 3,
            "<|extra_200|>": 39,
            **{f"<|visual token {code:06}|>": 40 + code for code in range(16)},
        }
    },
    "emu3_vqgan": {"channel_multiplier": (1, 1), "num_res_blocks": 1},
    "exaone4_5_vision": WINDOWED,
    "gemma3": {"mm_tokens_per_image": 4},
    "gemma4": {"vision_config": {"model_type": "gemma4_vision", "pooling_kernel_size": 2}},
    "gemma4_unified": {"vision_config": {"model_type": "gemma4_unified_vision"}},
    "gemma4_unified_vision": {"mm_embed_dim": 32, "mm_posemb_size": 32, "output_proj_dims": 32},
    "glm5_next_text": {"num_key_value_heads": 4, "index_kpool": 8, "qk_rope_head_dim": 0, "qk_head_dim": 8},
    "granite4_vision": {
        "vision_config": {"hidden_size": 64},
        "downsample_rate": "1/2",
        "deepstack_layer_map": [[0, 0], [1, 1]],
        "spatial_target_layers": [0, 1],
        "image_grid_pinpoints": [[32, 32]],
    },
    "idefics": {"additional_vocab_size": 0},
    "idefics2_vision": {"image_size": 32},
    "janus_vqgan": {"channel_multiplier": (1, 1), "num_res_blocks": 1},
    "instructblip": {"image_token_index": 3},
    "instructblipvideo": {"video_token_index": 4},
    "llama4_vision_model": {"intermediate_size": 128},
    "minicpm_ocr": {"image_token_id": 3},
    "minicpmv4_6": {"image_token_id": 3},
    "minicpmv4_7": {"image_token_id": 3},
    "mllama_text_model": {"cross_attention_layers": [1]},
    "mllama_vision_model": {"vision_output_dim": 96},
    "muse_glimmer": {"out_hidden_size": 128},
    "muse_spark": {"out_hidden_size": 128},
    "muse_spark_audio": {"num_hidden_layers": 4},
    "nemotron_h_omni": {"image_token_id": 3},
    "pix2struct_vision_model": {"patch_embed_hidden_size": 32},
    "shieldgemma2": {"mm_tokens_per_image": 4, "yes_token_index": 70, "no_token_index": 80},
    "step3p5": {"sliding_window": 8},
    "udop": {"relative_attention_num_buckets": 32},
    "unlimited_ocr_sam_vision_model": {"downsample_channels": [16, 32]},
    "llava_next": {"image_grid_pinpoints": [[32, 32]]},
    "llava_next_video": {"image_grid_pinpoints": [[32, 32]]},
    "llava_onevision": {"image_grid_pinpoints": [[32, 32]]},
    "molmo2_adapter": {"vision_feature_layer": [-1, -2]},
    "qwen2_5_omni_vision_encoder": WINDOWED,
    "qwen2_5_vl_vision": WINDOWED,
    "t5gemma2_encoder": {"mm_tokens_per_image": 4},
    "vipllava": {"vision_feature_layers": [-2, -1]},
    "vision-encoder-decoder": {"pad_token_id": 0, "decoder_start_token_id": 12},
    **{
        name: {"rope_parameters": MROPE}
        for name in (
            "ernie4_5_vl_moe_text",
            "glm4v_text",
            "hunyuan_vl_text",
            "qwen2_5_omni_text",
            "qwen2_vl_text",
            "qwen2_5_vl_text",
            "paddleocr_vl_text",
        )
    },
    **{
        name: {"rope_parameters": MROPE, "head_dim": 16, "partial_rotary_factor": 0.5}
        for name in ("glm4v_moe_text", "glm_ocr_text")
    },
    **{
        name: {
            "vision_start_token_id": 18,
            "vision_end_token_id": 19,
            "audio_start_token_id": 16,
            "audio_end_token_id": 17,
        }
        for name in ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")
    },
    # Sound
    "audio-spectrogram-transformer": {"max_length": 32},
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 8}},
    "glmasr_encoder": {"intermediate_size": 128},
    "granite_speech_encoder": {"context_size": 8},
    "granite_speech_plus_encoder": {"context_size": 8},
    "granite_speech": {"window_size": 15},
    "granite_speech_plus": {"window_size": 15},
    "mimi": {"upsample_groups": 32},
    "speech-encoder-decoder": {"pad_token_id": 0, "decoder_start_token_id": 12},
    "moonshine": {"encoder_num_key_value_heads": 4, "decoder_num_key_value_heads": 4},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "voxtral": {"audio_token_id": 5},
    "voxtral_encoder": {"intermediate_size": 128},
}
"""Fields of a config that the general sizes cannot give."""

TRAINED_IN_TRAIN_MODE = frozenset({"reformer"})
"""Models that refuse a backward pass in evaluation mode; their dropout is off."""
