"""How big a tiny model is: the value of every config field that has a size, by the field's name."""

VOCABULARY = 128
SPECIAL = 64
"""Ids below are special tokens; text is drawn from the ids above."""

LABELS = 3
WIDTH = 32
HEADS = 4


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_NAMES_BY_VALUE = {
    WIDTH: """
        hidden_size d_model n_embd dim emb_dim embed_dim embedding_size embedding_dim word_embed_proj_dim hidden_dim
        projection_dim projection_size out_hidden_size text_hidden_size projector_hidden_size projection_hidden_size
        projection_hidden_dim encoder_hidden_size decoder_hidden_size cross_hidden_size output_hidden_size
        audio_hidden_size vision_hidden_size backbone_hidden_size pooler_hidden_size pooler_output_size
        attention_hidden_size cross_attention_hidden_size output_dim adapter_in_dim adapter_out_dim
        adapter_input_size entity_emb_size hidden_size_global image_text_hidden_size patch_embed_hidden_size
        embedding_hidden_size prediction_head_size lru_width output_channels d_latents xvector_output_dim
        image_token_embed_dim codevector_dim proj_codevector_dim classifier_proj_size output_embedding_size
        input_embedding_size codebook_dim base_channels decoder_input_dim encoder_input_dim bottleneck_size
        text_embed_dim
        vector_quantization_hidden_dimension vision_output_dim projector_input_dim projector_output_dim
        speech_decoder_prenet_units speech_decoder_postnet_units speaker_embedding_dim unit_embed_dim
        pronunciation_embed_dim shape_embed_dim lang_embed_dim spkr_embed_dim frequency_embedding_size
        t2u_variance_predictor_embed_dim t2u_variance_predictor_hidden_dim prompt_mid_dim conv_channels
        subsampling_conv_channels downsample_hidden_size ext_pw_out_channel depthwise_separable_out_channel
        nemo_conv_channels router_hidden_size relation_hidden_size true_hidden_size post_conv_in_channels
        post_conv_out_channels post_conv_mid_channels class_expand ple_embed_dim
        image_size crop_size input_size resolution train_size
        max_2d_position_embeddings
        type_vocab_size task_type_vocab_size prompt_types segment_types pronunciation_vocab_size shape_vocab_size
        char_vocab_size entity_vocab_size composer_vocab_size num_hash_buckets additional_vocab_size
        num_attention_heads_total
    """,
    48: """
        intermediate_size ffn_dim d_ff dim_ff dff n_inner d_inner ffn_hidden_size mlp_dim encoder_ffn_dim
        decoder_ffn_dim moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size
        shared_experts_intermediate_size dense_intermediate_size intermediate_size_mlp feed_forward_size
        expert_ffn_hidden_size alignment_intermediate_size share_expert_dim projection_intermediate_size
        speech_encoder_intermediate_size t2u_encoder_ffn_dim t2u_decoder_ffn_dim merged_hidden_size moe_hidden_size
        moe_shared_expert_intermediate_size adapter_hidden_size
    """,
    2: """
        num_hidden_layers num_layers n_layer n_layers layers encoder_layers decoder_layers num_decoder_layers
        num_encoder_layers depth encoder_num_hidden_layers decoder_num_hidden_layers speech_encoder_layers
        t2u_encoder_layers t2u_decoder_layers resampler_depth conf_num_hidden_layers num_global_layers
        max_window_layers num_blocks num_self_attends_per_block aligner_num_add_layers num_layers_per_stack
        num_experts_per_token moe_topk moe_top_k moe_k top_k num_key_value_heads kv_n_heads
        num_kv_heads cross_num_key_value_heads encoder_num_key_value_heads decoder_num_key_value_heads
        swa_num_key_value_heads index_n_heads n_mamba_heads num_timestamp_prediction_layers
        speech_decoder_postnet_layers num_feedforward_networks
    """,
    HEADS: """
        num_attention_heads num_heads n_head n_heads attention_heads encoder_attention_heads decoder_attention_heads
        encoder_num_attention_heads decoder_num_attention_heads cross_num_attention_heads swa_num_attention_heads
        num_sliding_attention_heads linear_num_heads linear_num_value_heads resampler_heads resampler_n_heads
        conf_num_attention_heads speech_encoder_attention_heads t2u_encoder_attention_heads
        t2u_decoder_attention_heads num_encoder_attention_heads num_decoder_attention_heads mamba_n_heads
        mamba_num_heads num_self_attention_heads num_cross_attention_heads num_query_groups
        num_experts n_routed_experts num_local_experts moe_num_experts zero_expert_num
        q_groups k_groups v_groups post_attention_groups intermediate_groups output_groups
        num_conv_pos_embedding_groups latent_query_num resampler_n_latents resampler_num_latents num_query_tokens
        num_latents num_landmarks num_quantizers num_codebooks num_negatives num_speakers
        vocoder_num_langs vocoder_num_spkrs num_filters n_hc
    """,
    8: """
        head_dim d_kv d_head dim_head kv_channels attention_head_dim attention_head_size cross_head_dim swa_head_dim
        linear_head_dim linear_key_head_dim linear_value_head_dim mamba_d_head mamba_head_dim mamba_headdim
        resampler_head_dim resampler_dim_head qk_nope_head_dim qk_rope_head_dim v_head_dim index_head_dim
        kv_lora_rank q_lora_rank o_lora_rank laurel_rank gated_norm_rank embedding_rank adapter_rank hc_lowrank
        mamba_d_state state_size ssm_state_size mamba_dt_rank time_step_rank rotary_dim d_rel
        hidden_size_per_layer_input query_pre_attn_scalar latent_size index_topk sliding_window
        attention_window_size sliding_window_size window_size local_attention local_attention_window_len
        attention_window attention_chunk_size block_size chunk_size mamba_chunk_size index_block_size
        local_attn_chunk_length lsh_attn_chunk_length conf_attention_chunk_size keep_window_size
        num_conv_pos_embeddings global_block_size local_radius
        relative_attention_num_buckets position_bias_num_buckets num_buckets position_buckets rel_pos_bins
        rel_2d_pos_bins segment_means_seq_len groups_width
        coordinate_size shape_size
    """,
    16: """
        num_mel_bins n_mel_bins input_feat_size input_feat_per_channel feature_size
        relative_attention_max_distance position_bias_max_distance relative_max_distance max_bucket_distance
        rel_extent max_rel_pos max_rel_2d_pos max_relative_position
        codebook_size num_codevectors_per_group num_ctc_classes num_embeddings xpath_unit_hidden_size latent_channels
        embedding_channels qk_head_dim
    """,
    VOCABULARY: """
        vocab_size decoder_vocab_size src_vocab_size tgt_vocab_size t2u_vocab_size unit_hifi_gan_vocab_size
        audio_vocab_size codebook_vocab_size vocab_size_per_layer_input unpadded_vocab_size
        encoder_hash_byte_group_vocab
        max_position_embeddings n_positions n_ctx context_length max_seq_len model_max_length
        max_source_positions max_target_positions max_encoder_position_embeddings max_decoder_position_embeddings
        t2u_max_position_embeddings max_speech_positions max_text_positions max_pos_emb
        original_max_position_embeddings position_embedding_size
    """,
    1: """
        first_k_dense_replace num_dense_layers n_group topk_group n_groups mamba_n_groups num_expert_group
        moe_layer_start_index insert_layer_id n_shared_experts num_shared_experts
        moe_num_shared_experts num_sparse_encoder_layers num_sparse_decoder_layers
    """,
}

SIZES: dict[str, int] = {name: value for value, names in _NAMES_BY_VALUE.items() for name in _words(names)}
"""The tiny value of an integer field. A field that is not there keeps its default."""

AT_MOST = {
    "patch_size": 8,
    "type_vocab_size": 2,
    "linear_num_key_heads": 2,
    "num_experts_per_tok": 2,
    "num_kv_shared_layers": 0,
}
"""Fields that are only ever made smaller."""

ONE_EACH = _words("depths block_sizes num_block_repeats stage_num_blocks stage_numb_of_layers depth n_attn_blocks")
"""Lists with a number of layers for each stage: each becomes one."""

INDEXES = {
    "fullatt_block_indexes": [1],
    "global_attn_indexes": [1],
    "deepstack_visual_indexes": [0],
    "intermediate_layers_indices": [0, 1],
}
"""Lists of layers."""

EVEN_IF_NONE = {
    "head_dim": 8,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
}
"""Fields that get this size even where the default is to have none."""

WIDTHS = _words("""
    hidden_sizes embed_dim embed_dims neck_hidden_sizes stage_in_channels stage_mid_channels stage_out_channels
    stem_channels conv_dim tdnn_dim encoder_hidden_sizes base_attn_unit_dims
""")
"""Lists with a width for each stage: made smaller in proportion."""

HEAD_COUNTS = _words("num_heads num_attention_heads encoder_num_heads")
"""Lists with a number of heads for each stage: made smaller in proportion."""

_SPECIAL_TOKENS = _words("""
    pad bos eos image video audio decoder_start unk sep cls mask forced_eos forced_bos boi eoi boa eoa
    image_start image_end video_start video_end audio_start audio_end vision_start vision_end image_bos image_eos
    audio_bos audio_eos image_patch frame_start frame_end low_res_image_start user timestamp document eod
    audio_pad blank im_start im_end im_newline image_newline video_eos video_bos start end fake_image
""")

TOKENS: dict[str, int] = {
    name + suffix: position
    for position, name in enumerate(_SPECIAL_TOKENS)
    for suffix in ("_token_id", "_token_index", "_id")
}
"""The id of every special token, by the name of its config field."""
