"""How a method's checkpoints look in Hugging Face peft's format: the part of the contract for methods peft knows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

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

_TASK_TYPES = {
    # peft's name of a task: the mapping in transformers that lists the classes for it
    "SEQ_CLS": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "SEQ_2_SEQ_LM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "CAUSAL_LM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "TOKEN_CLS": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "QUESTION_ANS": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
}


class PeftFormat(ABC):
    """The translation between one method and its ``adapter_config.json`` and tensor names in peft.

    Attributes:
        peft_type: The value of ``peft_type`` in the configuration, such as ``LORA``.
        tensors: From the adapter's own tensor names to those in peft's files, such as ``lora_A`` to ``lora_A.weight``.
        prefix: What peft puts before the names of base parameters that are trained themselves.
        common: The entries of the configuration that the core writes.
    """

    peft_type: str
    tensors: Mapping[str, str]
    prefix: str = PREFIX
    common: Sequence[str] = (
        "peft_type",
        "task_type",
        "base_model_name_or_path",
        "inference_mode",
        "modules_to_save",
        "target_modules",
    )

    @staticmethod
    def task_type(model: nn.Module) -> str | None:
        """peft's name of what a model of transformers is for; ``None`` if it has none."""
        from transformers.models.auto import modeling_auto  # here, since it takes a second to import

        for task, mapping in _TASK_TYPES.items():
            if type(model).__name__ in getattr(modeling_auto, mapping).values():
                return task
        return None

    def file_name(self, site: str, tensor: str) -> str:
        """The name in a file of the adapter's ``tensor`` at ``site``."""
        return tensor_name(site, self.tensors.get(tensor, tensor))

    def read(
        self, model: nn.Module, config: Mapping[str, Any], tensors: MutableMapping[str, Tensor]
    ) -> tuple["Method", list[str], list[str]]:
        """The method, the names of its sites and of the parameters trained themselves, of files that peft wrote.

        Args:
            model: The model they are to be loaded onto.
            config: ``adapter_config.json``.
            tensors: Those of the file; a format may add what follows from them.

        Raises:
            CheckpointError: The files use an option of peft's that changes the function and is not supported here.
        """
        shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        used = set()
        for key, tensor in tensors.items():
            for own, name in sorted(self.tensors.items(), key=lambda item: len(item[1]), reverse=True):
                site = key.removeprefix(PREFIX).removesuffix(f".{name}")
                if key == tensor_name(site, name):  # the longest name, since one may be the ending of another
                    shapes.setdefault(site, {})[own] = tuple(tensor.shape)
                    used.add(key)
                    break
        trained = [key.removeprefix(self.prefix) for key in tensors if key not in used]
        return self.method(config, shapes), list(shapes), trained

    def covers(self, method: "Method", sites: Sequence[Site]) -> bool:
        """Whether peft can compute the same; without it ``adapter_config.json`` holds Inarch's own record alone."""
        return True

    @abstractmethod
    def config(self, method: "Method", sites: Sequence[Site]) -> dict[str, Any]:
        """The method's own entries of ``adapter_config.json``; the core adds those that all methods share."""

    @abstractmethod
    def method(self, config: Mapping[str, Any], shapes: Shapes) -> "Method":
        """The method that a file written by peft describes.

        Raises:
            CheckpointError: The file uses an option of peft's that changes the function and is not supported here.
        """


def trained_prefix(peft: PeftFormat | None) -> str:
    """What stands in a file before the names of base parameters that are trained themselves."""
    return peft.prefix if peft else PREFIX
