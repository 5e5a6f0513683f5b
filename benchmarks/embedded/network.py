"""The network: a vision transformer of 0.14 million parameters for pictures of 8 x 8 pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inarch_benchmarks.comparison.quiet import quiet_transformers
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


def save_network(model: Any, folder: Path) -> None:
    """Save a network with its head, as transformers saves any model."""
    with quiet_transformers():
        model.save_pretrained(folder)


def load_backbone(folder: Path) -> dict[str, Tensor]:
    """The weights of a saved network's backbone, by name; safetensors only, nothing is unpickled."""
    from transformers import ViTForImageClassification

    with quiet_transformers():
        saved = ViTForImageClassification.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return dict(saved.base_model.state_dict())


def pixel_values(images: NDArray[np.uint8]) -> Tensor:
    """Ink of shape (images, SIZE, SIZE) as the network takes it, shape (images, 1, SIZE, SIZE).

    Ink as a share of the darkest has mean 0.30 and standard deviation 0.37, on the glyphs and on the digits.
    """
    return ((torch.from_numpy(images).float() / INK - 0.30) / 0.37).unsqueeze(1)
