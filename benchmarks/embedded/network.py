"""The network: a vision transformer of 0.14 million parameters for pictures of 8 x 8 pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inarch_benchmarks.embedded.glyphs import INK, SIZE

WIDTH = 64

CONFIG: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 2 * WIDTH,
    "image_size": SIZE,
    "patch_size": 2,
    "num_channels": 1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    # 1 / sqrt(width): with the usual 0.02, meant for widths of 768 and more, so small a network stays on a plateau.
    "initializer_range": WIDTH**-0.5,
}


def network(labels: int, seed: int) -> Any:
    """A new ``ViTForImageClassification`` with random weights, all of them decided by ``seed``."""
    from transformers import ViTConfig, ViTForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ViTForImageClassification(ViTConfig(**CONFIG, num_labels=labels))


def save_backbone(model: Any, folder: Path) -> None:
    """Save a network without its head, as transformers saves any model."""
    with _quiet_transformers():
        model.base_model.save_pretrained(folder)


def load_backbone(folder: Path) -> dict[str, Tensor]:
    """The weights of a saved backbone, by name; safetensors only, nothing is unpickled."""
    from transformers import ViTModel

    with _quiet_transformers():
        saved = ViTModel.from_pretrained(folder, add_pooling_layer=False, use_safetensors=True, local_files_only=True)
    return dict(saved.state_dict())


def pixel_values(images: NDArray[np.uint8]) -> Tensor:
    """Ink of shape (images, SIZE, SIZE) as the network takes it, shape (images, 1, SIZE, SIZE).

    Ink as a share of the darkest has mean 0.30 and standard deviation 0.37, on the glyphs and on the digits.
    """
    return ((torch.from_numpy(images).float() / INK - 0.30) / 0.37).unsqueeze(1)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Inside, transformers draws no progress bars of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
