"""What the tests of the bridge share: settings for tiny models, and families of one layer."""

import copy
import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

import inarch

from families import FAMILIES, Family

TOKENS = {"num_virtual_tokens": 4}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    # For the methods whose defaults are for larger models, or that have none.
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
TARGETS = ("@attention.query", "@mlp.down")
"""Two linear maps in a layer, so that the table is done in a minute."""


def small(method: str) -> dict[str, Any]:
    """Settings of one of peft's methods that fit a tiny model."""
    settings = dict(SETTINGS.get(method, {}))
    return settings | ({"targets": TARGETS} if "@linear" in inarch.method(f"peft/{method}").targets else {})


def one_layer(name: str) -> Family:
    """A family with one layer instead of two; its model is made once and copied."""
    torch.manual_seed(0)
    model: Any = FAMILIES[name].make()
    model.config.num_hidden_layers = 1
    if name == "t5":
        model.config.num_decoder_layers = 1
    template = type(model)(model.config)
    return dataclasses.replace(FAMILIES[name], make=lambda: copy.deepcopy(template))


def batch_of(family: Family, method: str) -> dict[str, Tensor]:
    """A batch that a model of peft's own takes: it asks for the task where there may be several."""
    batch = family.batch()
    if method in ("poly", "multitask_prompt_tuning"):
        batch["task_ids"] = torch.zeros(2, dtype=torch.long)
    if method == "adalora":  # peft's loss counts on an adapter in training
        del batch["labels"]
        if family.name == "t5":
            batch["decoder_input_ids"] = batch["input_ids"]
    return batch


def loaded_by_peft(model: nn.Module, folder: Path) -> nn.Module:
    """The model with the adapter of a folder, as peft loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(model, folder).eval()


@pytest.fixture
def llama() -> Family:
    return one_layer("llama")
