"""The format of AWQ (Lin et al. 2023, arXiv:2306.00978), as the layers of gptqmodel and autoawq hold it.

As in GPTQ, ``W[:, i] = s * (q[:, i] - z)`` with a scale and a zero for each row and group; the groups are runs of
inputs. The four bits of eight outputs lie in one word, in the order 0, 2, 4, 6, 1, 3, 5, 7 from the lowest bits on, so
that ``qweight`` is (in_features, out_features / 8).
"""

import torch
from torch import Tensor, nn

from ..errors import FormatError
from .gptq import BUFFERS, WORD, CalibratedFormat, require_plain, unpacked

BITS = 4
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which output of eight each four bits of a word belong to."""


class AwqFormat(CalibratedFormat):
    """The format of the layers for matrix products, "GEMM"."""

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the module's declared sizes.

        Raises:
            FormatError: The layer passes no gradients to what is below it.
        """
        scales = module._buffers["scales"]
        if type(module).__module__.startswith("awq.") and scales is not None and scales.device.type == "cpu":
            raise FormatError(
                f"{type(module).__name__} of autoawq computes no gradients on a CPU: load the model with transformers "
                "and gptqmodel, or move it to a GPU."
            )
        return super().features(module)

    def dequantised(self, module: nn.Module) -> Tensor:
        """``s * (q - z)`` in the dtype of the scales.

        Raises:
            FormatError: The layer has brought its codes into an order of its own.
        """
        qweight, qzeros, scales = (module._buffers[name] for name in ("qweight", "qzeros", "scales"))
        assert qweight is not None
        assert qzeros is not None
        assert scales is not None
        in_features, out_features = self.features(module)
        groups, words = scales.shape[0], out_features * BITS // WORD
        shapes = [(in_features, words), (groups, words), (groups, out_features)]
        found = [tuple(buffer.shape) for buffer in (qweight, qzeros, scales)]
        bits = getattr(module, "bits", getattr(module, "w_bit", BITS))
        require_plain(module, found == shapes and in_features % groups == 0, bits == BITS)
        size = in_features // groups
        codes, zeros = (_in_order(unpacked(words, BITS, axis=1)) for words in (qweight, qzeros))
        weight: Tensor = (codes - zeros.repeat_interleave(size, 0)) * scales.repeat_interleave(size, 0)
        return weight.T


def _in_order(codes: Tensor) -> Tensor:
    """The codes of each word in the order of the outputs."""
    order = torch.tensor(ORDER, device=codes.device)
    words: Tensor = codes.unflatten(1, (-1, len(ORDER)))
    return words[..., order.argsort()].flatten(1)


def format_of(module: nn.Module) -> AwqFormat | None:
    """The format of a layer, if it is one of AWQ."""
    return FORMAT if module._buffers.keys() >= BUFFERS and "g_idx" not in module._buffers else None


FORMAT = AwqFormat()
