"""How a method's checkpoints look in Hugging Face peft's format: the part of the contract for methods peft knows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .site import Site

if TYPE_CHECKING:
    from .method import Method

PREFIX = "base_model.model."
"""What peft puts before the name of every module and parameter in ``adapter_model.safetensors``."""


def tensor_name(site: str, tensor: str) -> str:
    """The name in a file of one adapter tensor; ``site`` is empty for the model itself."""
    return f"{PREFIX}{site}.{tensor}" if site else f"{PREFIX}{tensor}"


Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Shapes of the tensors in a file: site name, then the adapter's own name of the tensor."""


class PeftFormat(ABC):
    """The translation between one method and its ``adapter_config.json`` and tensor names in peft.

    Attributes:
        peft_type: The value of ``peft_type`` in the configuration, such as ``LORA``.
        tensors: From the adapter's own tensor names to those in peft's files, such as ``lora_A`` to ``lora_A.weight``.
    """

    peft_type: ClassVar[str]
    tensors: ClassVar[Mapping[str, str]]

    @abstractmethod
    def config(self, method: "Method", sites: Sequence[Site]) -> dict[str, Any]:
        """The method's own entries of ``adapter_config.json``; the core adds those that all methods share."""

    @abstractmethod
    def method(self, config: Mapping[str, Any], shapes: Shapes) -> "Method":
        """The method that a file written by peft describes.

        Raises:
            CheckpointError: The file uses an option of peft's that changes the function and is not supported here.
        """
