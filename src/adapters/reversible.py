"""Reversible networks: they compute gradients in a backward pass of their own, which runs where what comes in has one.

What a frozen embedding gives has none, and nothing after it would be trained. So while adapters are attached, the input
embedding of such a model gives a tensor that asks for a gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .module_tree import input_embedding
from .part_code import part_code


def ask_for_gradient(model: nn.Module) -> nn.Module | None:
    """Let the input embedding of a reversible network ask for a gradient.

    Returns:
        The embedding; ``None`` for every other network.
    """
    if not any(part_code(type(module)).is_reversible for module in model.modules()):
        return None
    embedding = input_embedding(model)
    if embedding is not None:
        embedding.register_forward_hook(_ask)
    return embedding


def ask_no_more(embedding: nn.Module) -> None:
    """Undo ``ask_for_gradient``."""
    for key in [key for key, hook in embedding._forward_hooks.items() if hook is _ask]:
        del embedding._forward_hooks[key]


def _ask(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output if output.requires_grad or not torch.is_grad_enabled() else output.detach().requires_grad_()
