"""One injection of peft's into one model: done, undone and redone, and what belongs to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from . import changes, weights
from .changes import Absent, Change, Structure
from .library import BaseTuner, BaseTunerLayer, ModulesToSaveWrapper, peft, quiet, tuners
from .route import Inside, Route
from .settings import frozen

NAME = "default"
"""peft's name of the adapter; some of its methods count on this one."""

EXTRA = "inarch."
"""What comes before the names of trained tensors that peft leaves out of its file, or writes only what comes of them.
peft passes over them when it reads the file."""


class Injection:
    """peft's layers in a model, or its prompt encoder beside it. After an error the model is as it was.

    Args:
        model: The model.
        config: A configuration of peft's.
    """

    def __init__(self, model: nn.Module, config: Any) -> None:
        self.model = model
        self.config = config
        self.shown = True
        self._base = list(model.modules())
        before, trainable = Structure(model), [(p, p.requires_grad) for p in model.parameters()]
        training = [(module, module.training) for module in self._base]
        keeping = weights.Keeping(weights.base_tensors(model))
        try:
            with quiet(), keeping:
                self.peft_model = _injected(model, config)
        except BaseException:
            changes.show(before.changes(), False)
            weights.show(keeping.rewritten, False)
            raise
        finally:
            for parameter, was_trainable in trainable:
                parameter.requires_grad_(was_trainable)
            for module, was_training in training:
                module.training = was_training
        self._changes, self._rewritten = _settled(before.changes(), self.is_prompt), keeping.rewritten
        for module in self.own_modules():
            module.training = model.training
        self._beside = self._find_beside()

    @property
    def is_prompt(self) -> bool:
        """Whether it learns a prompt: then nothing in the model changes, and its calls go through peft's model."""
        return bool(self.config.is_prompt_learning)

    @property
    def tuner(self) -> Any:
        """peft's tuner, which wraps the model; the model itself for a prompt."""
        return self.peft_model.base_model

    @property
    def beside(self) -> nn.Module | None:
        """The modules and parameters of its own that lie in no module of the model."""
        return self._beside if any(True for _ in self._beside.state_dict()) else None

    def show(self, on: bool) -> None:
        """Take part in the forward pass, or leave the model as it was before, to the bit."""
        if on != self.shown:
            ordered = self._changes if on else list(reversed(self._changes))
            changes.show(ordered, on)
            weights.show(self._rewritten, on)
            self.shown = on
            if on:
                self._follow()

    @contextmanager
    def showing(self, on: bool) -> Iterator[None]:
        """Its layers are in the model inside the ``with`` block, or they are not."""
        before = self.shown
        self.show(on)
        try:
            yield
        finally:
            self.show(before)

    def route(self) -> None:
        """Let calls of the model go through peft's forward, for a method that needs that."""
        overrides = isinstance(self.tuner, BaseTuner) and type(self.tuner).forward is not BaseTuner.forward
        if not (self.is_prompt or overrides):
            return
        inside = Inside()
        for name in ("forward", "generate"):
            if hasattr(self.model, name):
                before = vars(self.model).get(name, Absent.ABSENT)
                route = Route(name, self.model, self.peft_model, None if before is Absent.ABSENT else before, inside)
                self._changes.append(Change(self.model, "", name, before, route))
                self._changes[-1].show(True)

    def own_modules(self) -> Iterator[nn.Module]:
        """The modules that are not the base model's."""
        base = set(self._base)
        return (module for module in self.peft_model.modules() if module not in base)

    def adapted(self) -> frozenset[int]:
        """Identities of the base parameters that peft's layers stand around."""
        layers = [module.base_layer for module in self.own_modules() if isinstance(module, BaseTunerLayer)]
        return frozenset(id(parameter) for layer in layers for parameter in layer.parameters())

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that are not the base model's, by name."""
        seen = {id(parameter) for module in self._base for parameter in module._parameters.values()}
        found = {}
        with self.showing(True):
            doubled = self._doubled()
            for name, parameter in self.peft_model.named_parameters(remove_duplicate=False):
                if id(parameter) not in seen and not name.startswith(doubled):
                    seen.add(id(parameter))
                    found[name] = parameter
        return found

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint by their names in peft's file; what can be restored shares memory."""
        with self.showing(True), quiet(), torch.no_grad():
            return self._prompt_tensors() if self.is_prompt else self._tuner_tensors()

    def settings(self) -> dict[str, Any]:
        """peft's configuration as JSON types, as the injection filled it in."""
        values: dict[str, Any] = frozen(self.config.to_dict())
        if _resizes(self.tuner):
            values["rank_pattern"] = None
        return values

    def encoded(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a prompt encoder that has read the tensors of peft's file; nothing for others."""
        if not self.is_prompt:
            return {}
        self.peft_model.prompt_encoder[NAME]._load_adapter_state_dict(dict(tensors))
        return self.tensors()

    def targeted(self) -> tuple[str, ...]:
        """Names of the modules in which peft placed something."""
        return tuple(getattr(self.tuner, "targeted_module_names", ()))

    def _follow(self) -> None:
        """Do what the model was told while peft's layers were not in it: move, train or evaluate."""
        for module in self.own_modules():
            module.training = self.model.training
        device = next(self.model.parameters()).device
        for parameter in self.own_parameters().values():
            if parameter.device != device and "meta" not in (parameter.device.type, device.type):
                parameter.data = parameter.data.to(device)

    def _tuner_tensors(self) -> dict[str, Tensor]:
        pattern, resizes = getattr(self.config, "rank_pattern", None), _resizes(self.tuner)
        if resizes:
            self.config.rank_pattern = None  # else peft gives copies without the ranks that a schedule has masked
        try:
            doubled, held = self._doubled(), self.peft_model.state_dict()
            held = {key: value for key, value in held.items() if not key.startswith(doubled)}
            found = peft.get_peft_model_state_dict(self.peft_model, held, NAME, save_embedding_layers=False)
        finally:
            if resizes:
                self.config.rank_pattern = pattern
        written = {_storage(tensor) for tensor in found.values()}
        held = self._beside.state_dict()
        return dict(found) | {EXTRA + key: held[key] for key in held if _storage(held[key]) not in written}

    def _prompt_tensors(self) -> dict[str, Tensor]:
        """Those of peft's file, and those of the encoder where they are more than the embedded prompt."""
        encoder = self.peft_model.prompt_encoder[NAME]
        keys = encoder.state_dict().keys()
        if self.config.inference_mode or keys == {"embedding.weight"}:
            own = {key: value for key, value in encoder.state_dict().items() if "." not in key}
            return {"prompt_embeddings": encoder.embedding.weight.data} | own
        written = type(encoder)._get_adapter_state_dict(self.peft_model, self.config, NAME, {}, [])
        own = encoder.state_dict()  # after the encoding, in which an encoder may replace its parameters' data
        return {key: value.detach() for key, value in written.items()} | {EXTRA + key: own[key] for key in keys}

    def _doubled(self) -> tuple[str, ...]:
        """Where in peft's model those modules stand that lie beside it and have been put into the model as well."""
        named = self.peft_model.named_modules(remove_duplicate=False)
        return tuple(f"{name}." for name, module in named if module is self._beside)

    def _find_beside(self) -> nn.Module:
        """A module that holds what peft's model and tuner hold besides the base model."""
        inside = {id(tensor) for tensor in weights.base_tensors(self.model)}
        found = nn.Module()
        for holder in (self.peft_model, self.tuner) if not self.is_prompt else (self.peft_model,):
            for key, module in holder._modules.items():
                tensors = weights.base_tensors(module) if module not in (self.tuner, self.model) else []
                if any(id(tensor) not in inside for tensor in tensors):
                    found.add_module(key, module)
            for key, parameter in holder._parameters.items():
                if id(parameter) not in inside:
                    found.register_parameter(key, parameter)
        return found


def _injected(model: nn.Module, config: Any) -> Any:
    """peft's model around ``model``, with the ranks of a checkpoint in which a schedule has left some out."""
    pattern = getattr(config, "rank_pattern", None)
    if not pattern or not _resizes(tuners()[config.peft_type.value]):
        return peft.get_peft_model(model, config, adapter_name=NAME)
    config.rank_pattern = None  # peft would look for modules of the names in it, which are of parameters
    peft_model = peft.get_peft_model(model, config, adapter_name=NAME)
    config.rank_pattern = pattern
    peft_model.base_model.resize_modules_by_rank_pattern(pattern, NAME)
    return peft_model


def _resizes(tuner: Any) -> bool:
    return hasattr(tuner, "resize_modules_by_rank_pattern")


def _storage(tensor: Tensor) -> int:
    """What tells one storage from another, on the meta device too."""
    return int(tensor.untyped_storage()._cdata)


def _settled(found: list[Change], is_prompt: bool) -> list[Change]:
    """The changes that stay: none for a prompt, and no wrapper around a head, which Inarch trains itself."""
    stays: list[Change] = []
    for change in reversed(found):
        if is_prompt or isinstance(change.after, ModulesToSaveWrapper):
            change.show(False)
        else:
            stays.insert(0, change)
    return stays
