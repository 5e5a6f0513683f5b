"""Settings that fit the tiny models, for the methods of peft whose defaults are for larger ones."""

from typing import Any

TOKENS = {"num_virtual_tokens": 4}

SETTINGS: dict[str, dict[str, Any]] = {
    "adalora": {"total_step": 10, "init_r": 4, "target_r": 2},
    "adamss": {"r": 8, "num_subspaces": 2},
    "adaption_prompt": {"adapter_len": 4, "adapter_layers": 1},
    "c3a": {"block_size": 16},
    "cartridge": TOKENS,
    "cpt": {"cpt_token_ids": [5, 6, 7, 8], "cpt_mask": [1, 1, 1, 1], "cpt_tokens_type_mask": [1, 2, 3, 4]},
    "fourierft": {"n_frequency": 20},
    "gralora": {"r": 4},
    "miss": {"r": 4},
    "multitask_prompt_tuning": TOKENS,
    "oft": {"oft_block_size": 4},
    "p_tuning": TOKENS | {"encoder_hidden_size": 8},
    "prefix_tuning": TOKENS,
    "prompt_tuning": TOKENS,
    "psoft": {"r": 4},
    "pvera": {"r": 4},
    "randlora": {"r": 4},
    "road": {"group_size": 8},
    "shira": {"r": 4},
    "trainable_tokens": {"token_indices": [3, 4, 5]},
    "vblora": {"vector_length": 16, "num_vectors": 8},
    "vera": {"r": 4},
    "waveft": {"n_frequency": 20},
}
