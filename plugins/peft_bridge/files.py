"""Checkpoints of peft's methods: peft's own files, with Inarch's record in the header as for any method."""

import dataclasses
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from torch import Tensor, nn

import inarch
from inarch import CheckpointError, ConfigError, Method, PeftFormat, Site

from .adapter import PeftAdapter
from .library import PromptLearningConfig, configs
from .rehearsal import rehearsed
from .settings import LACKING, Setting, frozen


class PeftFiles(PeftFormat):
    """The files of one of peft's methods.

    Args:
        peft_type: peft's name of it.
        method: Inarch's name of it.
        settings: Its settings.
    """

    tensors: Mapping[str, str] = {}

    def __init__(self, peft_type: str, method: str, settings: Mapping[str, Setting]) -> None:
        self.peft_type = peft_type
        self._method = method
        self._settings = settings
        self.common = tuple(name for name in _OF_THE_CORE if name in _fields(peft_type))
        if issubclass(configs()[peft_type], PromptLearningConfig):
            self.prefix = "base_model."

    def file_name(self, site: str, tensor: str) -> str:
        """The adapter's names are peft's in full."""
        return tensor

    def config(self, method: Method, sites: Sequence[Site]) -> dict[str, Any]:
        """peft's configuration, as it filled it in."""
        model = next(site.module for site in sites if site.kind == "model")
        adapter = next(adapter.modules[""] for adapter in inarch.adapters(model).values())
        assert isinstance(adapter, PeftAdapter)
        return {name: value for name, value in adapter.settings().items() if name not in self.common}

    def read(
        self, model: nn.Module, config: Mapping[str, Any], tensors: MutableMapping[str, Tensor]
    ) -> tuple[Method, list[str], list[str]]:
        """The method, its sites and the parameters trained themselves, of files that peft wrote."""
        self._refuse(config)
        known = {name: frozen(config[name]) for name in self._settings if name in config}
        injection = rehearsed(self._method, model, lambda: self._configuration(config))
        tensors.update(injection.encoded(tensors))
        targeted = injection.targeted()
        modules = [f".{name}." for name in config.get("modules_to_save") or ()]
        names = [key.removeprefix(self.prefix) for key in tensors]
        trained = [name for name in names if any(module in f".{name}" for module in modules)]
        try:
            method = inarch.method(self._method, **known, targets=("@model", *targeted))
        except ConfigError as error:
            raise CheckpointError(f"The checkpoint's configuration is not one of {self._method}: {error}") from error
        return method, ["", *targeted], trained

    def method(self, config: Mapping[str, Any], shapes: Any) -> Method:
        """Not to be asked: ``read`` tells all at once."""
        raise NotImplementedError

    def _configuration(self, config: Mapping[str, Any]) -> Any:
        """peft's own reading of a configuration, for training and without modules that are trained themselves."""
        found = configs()[self.peft_type].from_peft_type(**config)
        found.inference_mode = isinstance(found, PromptLearningConfig)
        found.modules_to_save = None
        return found

    def _refuse(self, config: Mapping[str, Any]) -> None:
        unknown = sorted(config.keys() - _fields(self.peft_type))
        if unknown:
            raise CheckpointError(
                f"The checkpoint is of another version of peft: its {self.peft_type} has {', '.join(unknown)}, which "
                f"the installed peft does not know. Install that version."
            )
        for name, plain in _NOT_HERE.items():
            if config.get(name) not in (None, plain):
                raise CheckpointError(
                    f"The checkpoint has {name}={config[name]!r}, which {self._method} has not: load it with peft."
                )


_NOT_HERE = {"bias": "none", "save_only_topk_weights": False} | dict.fromkeys(LACKING)
"""Options of peft's that Inarch does not have, with the values under which they do nothing."""
_OF_THE_CORE = ("base_model_name_or_path", "inference_mode", "modules_to_save")


def _fields(peft_type: str) -> set[str]:
    return {field.name for field in dataclasses.fields(configs()[peft_type])}
