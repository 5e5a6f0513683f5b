"""Models of a shape with random weights, built on their device block by block and quantised at once.

So a model of 70 billion parameters never exists in more bits than it is stored in. One seed gives the same weights
whoever stores them, and in four and eight bits the same bytes: what differs between contenders is what they compute.
"""

import copy
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from inarch.kernels import FourBit, Int8
from inarch.quant import FourBitLinear, Int8Linear

from .shapes import Shape

SEED = 0
SPREAD = 0.02
"""Standard deviation of the weights, as Llama's config has it."""

Store = Callable[[nn.Linear, str], nn.Module]
"""Gives the module that holds a linear map's weight, quantised in a kind: ``nf4``, ``int8``."""


def build(shape: Shape, kind: str, store: Store, device: torch.device) -> Any:
    """A model in bfloat16 whose blocks' linear maps are stored by ``store``.

    Args:
        shape: Its shape.
        kind: How they are stored: ``bf16`` (as they are), ``nf4`` or ``int8``.
        store: What stores them.
        device: Where.
    """
    from transformers import AutoModelForCausalLM

    config = shape.config()
    first = copy.deepcopy(config)
    first.num_hidden_layers = 1
    with torch.device(device), default_dtype(torch.bfloat16):
        model = AutoModelForCausalLM.from_config(first, attn_implementation="sdpa", dtype=torch.bfloat16)
        config._attn_implementation = first._attn_implementation
        decoder = model.model
        kind_of_block = type(decoder.layers[0])
        del decoder.layers[0]
        randomise(model, "")
        for number in range(shape.layers):
            block = kind_of_block(config, layer_idx=number)
            randomise(block, f"{number}.")
            if kind != "bf16":
                exchange(block, kind, store)
            decoder.layers.append(block)
    model.tie_weights()
    for each in (model, decoder):
        each.config = config
    return model.requires_grad_(False)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Within, tensors are made in ``dtype``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@torch.no_grad()
def randomise(module: nn.Module, prefix: str) -> None:
    """Draw every matrix from a seed of its own name; norms stay ones."""
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            generator = torch.Generator(parameter.device).manual_seed(SEED + zlib.crc32(f"{prefix}{name}".encode()))
            parameter.normal_(0.0, SPREAD, generator=generator)


@torch.no_grad()
def exchange(block: nn.Module, kind: str, store: Store) -> None:
    """Put the stored form in the place of each linear map of a block."""
    for name, linear in [(name, each) for name, each in block.named_modules() if type(each) is nn.Linear]:
        parent, _, key = name.rpartition(".")
        with default_dtype(torch.float32):  # in which scales are computed
            setattr(block.get_submodule(parent), key, store(linear, kind))


def as_inarch(linear: nn.Linear, kind: str) -> nn.Module:
    """Stored by Inarch."""
    return FourBitLinear.of(linear) if kind == "nf4" else Int8Linear.of(linear)


def as_bitsandbytes(linear: nn.Linear, kind: str) -> nn.Module:
    """The bytes of ``as_inarch``, in bitsandbytes' layers."""
    from bitsandbytes import nn as layers

    sizes = linear.in_features, linear.out_features
    if kind == "int8":
        weight = Int8.quantise(linear.weight)
        eight = layers.Linear8bitLt(*sizes, bias=False, has_fp16_weights=False, device="meta")
        eight.weight = layers.Int8Params(
            weight.weight, requires_grad=False, has_fp16_weights=False, CB=weight.weight, SCB=weight.scales
        )
        return eight  # type: ignore[no-any-return]
    four = layers.Linear4bit(*sizes, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta")
    tensors = FourBit.quantise(linear.weight, "nf4").tensors()
    four.weight = layers.Params4bit.from_prequantized(
        tensors.pop(""), {f"weight.{name}": tensor for name, tensor in tensors.items()},
        device=linear.weight.device, module=four,
    )  # fmt: skip
    return four  # type: ignore[no-any-return]


def batch(shape: Shape, rows: int, sequence: int, device: torch.device, seed: int = SEED) -> dict[str, Tensor]:
    """Random tokens that are their own labels: no padding, so no mask."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, shape.vocabulary, (rows, sequence), generator=generator).to(device)
    return {"input_ids": tokens, "labels": tokens.clone()}
