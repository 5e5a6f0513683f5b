"""The quantisation config: what transformers is told to load a model in four or eight bits with Inarch's layers."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Self

import torch
from transformers.utils.quantization_config import BitsAndBytesConfig, QuantizationConfigMixin

from ..errors import FormatError
from .quantisation import require_kind

METHOD = "inarch"
"""What transformers' registry of quantisers calls this one."""


class Quantization(QuantizationConfigMixin):
    """How to load a model: ``AutoModel.from_pretrained(name, quantization_config=inarch.Quantization("nf4"))``.

    Each tensor is quantised on its device as soon as it is read, so that no more than one of them is there in floating
    point. What is quantised is what ``inarch.quantize`` exchanges.

    What it leaves in a ``config.json`` is a config of bitsandbytes: the bytes beside it are those of bitsandbytes'
    layers, so that plain transformers loads the model through bitsandbytes, and ``inarch.from_pretrained`` with the
    layers of this package. Only where fused experts are quantised too does it name this package.

    Args:
        kind: ``nf4``, ``fp4`` (both with doubly quantised scales, in blocks of 64) or ``int8``.

    Raises:
        UnknownNameError: There is no such kind.
    """

    def __init__(self, kind: str = "nf4") -> None:
        require_kind(kind)
        announce()
        self.quant_method = METHOD
        self.kind = kind
        self.dtype: torch.dtype = torch.float32
        self.precise: tuple[str, ...] = ()
        self.double = True
        self.fused = False

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **settings: Any) -> Any:
        """From what ``to_dict`` gave, or bitsandbytes wrote."""
        config = cls(stored_kind(config_dict, "The config"))
        return (config, settings) if return_unused_kwargs else config

    def loaded(self, dtype: torch.dtype, precise: Sequence[str], *, double: bool = True, fused: bool = False) -> Self:
        """Note what a model came to be.

        Args:
            dtype: What is computed in.
            precise: Names of the linear maps that were left in floating point, as patterns of bitsandbytes' list.
            double: Whether the scales are quantised too.
            fused: Whether fused experts are quantised, which transformers cannot load through bitsandbytes.
        """
        self.dtype, self.precise, self.double, self.fused = dtype, tuple(precise), double, fused
        return self

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``: the config by which bitsandbytes loads the same bytes.

        Where fused experts are quantised too, it says that only this package loads them.
        """
        if self.fused:
            return {"quant_method": METHOD, "kind": self.kind}
        theirs: dict[str, Any] = BitsAndBytesConfig(
            load_in_4bit=self.kind != "int8",
            load_in_8bit=self.kind == "int8",
            bnb_4bit_quant_type="nf4" if self.kind == "int8" else self.kind,
            bnb_4bit_use_double_quant=self.double,
            bnb_4bit_compute_dtype=self.dtype,
            llm_int8_skip_modules=list(self.precise),
        ).to_dict()
        return {**theirs, "quant_method": "bitsandbytes"}


def announce() -> None:
    """Make the method known to transformers, so that it loads what names it; that takes seconds to import."""
    import_module(".quantiser", __package__)


def stored_kind(config: Mapping[str, Any], name: str) -> str:
    """The kind of four or eight bits that a ``quantization_config`` of bitsandbytes speaks of.

    Raises:
        FormatError: It is of another library.
    """
    if config.get("quant_method") == METHOD:
        return str(config["kind"])
    if config.get("load_in_8bit"):
        return "int8"
    if config.get("load_in_4bit"):
        return str(config.get("bnb_4bit_quant_type", "fp4"))
    raise FormatError(
        f"{name} is quantised by {config.get('quant_method', 'something unknown')}: only weights of bitsandbytes are "
        "read. Load it with transformers alone, or take its checkpoint in floating point."
    )
