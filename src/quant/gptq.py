"""The format of GPTQ (Frantar et al. 2022, arXiv:2210.17323), as gptqmodel's layers hold it.

Column i of W belongs to the group ``g_idx[i]``, and with the scale s and the zero z of its group and row it is

    W[:, i] = s * (q[:, i] - z)

The codes q, of 2, 3, 4 or 8 bits, lie along the inputs in words of 32 bits, the first one lowest; so do the zeros of a
group along the outputs. Everything is held transposed: ``qweight`` is (in_features * bits / 32, out_features).
"""

import math

import torch
from torch import Tensor, nn

from ..errors import FormatError
from .formats import DeclaredFormat

WORD = 32
"""Bits of what the codes are packed into."""

BUFFERS = frozenset({"qweight", "qzeros", "scales"})
"""What every layer of GPTQ and of AWQ holds."""


class CalibratedFormat(DeclaredFormat):
    """Codes, zeros and scales that were chosen with data, so that there is no way back into them without it."""

    tensor = "qweight"

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the module's declared sizes.

        Raises:
            FormatError: The layer passes no gradients to what is below it.
        """
        if getattr(module, "SUPPORTS_TRAINING", True) is not True:
            raise FormatError(
                f"{type(module).__name__} computes no gradients, so that no adapter below it would be trained: load "
                'the model with the backend "auto_trainable" of gptqmodel.'
            )
        return super().features(module)

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> nn.Module:
        """Refused.

        Raises:
            FormatError: Always; rounding to the codes that are there would leave nothing of a change that is smaller
                than their distance.
        """
        raise FormatError(
            f"{type(module).__name__} cannot take the sum of its weight and a change: its codes were chosen with data "
            "that is not here. Merge to floating point with merge(to=torch.bfloat16), or leave the adapter unmerged."
        )


class GptqFormat(CalibratedFormat):
    """The format of the layers that keep the codes as they are in the file."""

    def dequantised(self, module: nn.Module) -> Tensor:
        """``s * (q - z)`` in the dtype of the scales.

        Raises:
            FormatError: The layer has brought its codes into an order of its own.
        """
        buffers = module._buffers
        qweight, qzeros, scales, groups = (buffers[name] for name in ("qweight", "qzeros", "scales", "g_idx"))
        assert qweight is not None
        assert qzeros is not None
        assert scales is not None
        assert groups is not None
        bits = int(module.bits)  # type: ignore[arg-type]
        in_features, out_features = self.features(module)
        shapes = [
            (math.ceil(in_features * bits / WORD), out_features),
            (scales.shape[0], math.ceil(out_features * bits / WORD)),
            (scales.shape[0], out_features),
            (in_features,),
        ]
        found = [tuple(buffer.shape) for buffer in (qweight, qzeros, scales, groups)]
        require_plain(module, found == shapes and not getattr(module, "planar", False), bits in (2, 3, 4, 8))
        codes = unpacked(qweight, bits, axis=0)[:in_features]
        zeros = unpacked(qzeros, bits, axis=1)[:, :out_features]
        group = groups.long()
        weight: Tensor = (codes - zeros[group]) * scales[group]
        return weight.T


def format_of(module: nn.Module) -> GptqFormat | None:
    """The format of a layer, if it is one of GPTQ; a quantised embedding is none."""
    is_selected = getattr(module, "SUPPORTS_BACKEND_SELECTION", True)
    return FORMAT if {*BUFFERS, "g_idx"} <= module._buffers.keys() and is_selected else None


def require_plain(module: nn.Module, has_shapes: bool, has_bits: bool) -> None:
    """Refuse to read codes that do not lie as in the file, or that are no codes of the weight alone.

    Raises:
        FormatError: What it is, and how to load the model instead.
    """
    turned = getattr(module, "online_full_had", False) or getattr(module, "online_partial_had", False)
    if not has_shapes or not has_bits or turned:
        raise FormatError(
            f"{type(module).__name__} keeps its weight in a layout that cannot be read "
            f"({getattr(module, 'bits', 4)} bits{', rotated' if turned else ''}): load the model with the backend of "
            "gptqmodel that is plain torch."
        )


def unpacked(words: Tensor, bits: int, axis: int) -> Tensor:
    """The codes that lie along ``axis`` in the words: code i in the bits from i * bits on, in int32."""
    words = words.movedim(axis, -1)
    count = words.shape[-1] * WORD // bits
    starts = torch.arange(count, device=words.device) * bits
    if WORD % bits == 0:
        codes = (words.unsqueeze(-1) >> starts[: WORD // bits].int()).flatten(-2)
    else:  # a code may begin in one word and end in the next
        longer = torch.cat([words, words[..., :1]], dim=-1).long() & (2**WORD - 1)
        place, shift = starts // WORD, starts % WORD
        codes = ((longer[..., place] >> shift) | (longer[..., place + 1] << (WORD - shift))).int()
    masked: Tensor = codes & (2**bits - 1)
    return masked.movedim(-1, axis)


FORMAT = GptqFormat()
