"""What peft can do with each of its methods, found by trying on tiny models rather than believed."""

import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import bitsandbytes
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

import inarch
from inarch import InarchError

from .library import PromptLearningConfig, tasks
from .methods import PeftMethod, method_of
from .settings import LACKING
from .trial import PART, Box

WIDTH = 256
"""Features of the tiny layers: enough for every default rank and block size of peft's."""

EXAMPLES: Mapping[str, Any] = {
    # Values to try a method with that has no default for a setting, or one that does nothing.
    "num_virtual_tokens": 2,
    "cpt_token_ids": (1, 2),
    "cpt_mask": (1, 1),
    "cpt_tokens_type_mask": (1, 2),
    "token_indices": (0,),
    "adapter_len": 2,
    "adapter_layers": 1,
    "total_step": 10,
}

Make = Callable[[], tuple[nn.Module, Tensor]]
"""Makes a model and an input for it."""


@cache
def tried(peft_type: str) -> dict[str, Any]:
    """What the method for one of peft's types supports, on this machine.

    modules     the types of layers that it adapts; ``model`` for a method that chooses by itself
    quantised   the weight formats of bitsandbytes that it adapts
    merge       whether it can be merged into the base weights
    tasks       the tasks of models that it is for, where it is not for any
    needs       the settings without a default that does anything
    lacks       fields of peft's configuration that are no settings here
    refuses     why it could not be tried
    """
    method = method_of(peft_type)
    examples = {name: value for name, value in EXAMPLES.items() if name in method.own_settings}
    makes = {"model": _language_model} if _chooses(method) else LAYERS
    with _silence():
        refusals = {name: _refusal(method, make, examples) for name, make in makes.items()}
        works = [name for name, refusal in refusals.items() if not refusal]
        if not works:
            return {"modules": [], "merge": False, "refuses": next(iter(refusals.values()))}
        make = makes[works[0]]
        found: dict[str, Any] = {"modules": works, "merge": not _refusal(method, make, examples, merge=True)}
        needs = [name for name in examples if _refusal(method, make, _without(examples, name))]
        if makes is LAYERS:
            found["quantised"] = [name for name, each in QUANTISED.items() if not _refusal(method, each, examples)]
        if issubclass(method.config_class, PromptLearningConfig):
            found["tasks"] = [task for task in tasks() if _is_for(method, examples, task)]
    lacks = sorted(LACKING.keys() & {field.name for field in dataclasses.fields(method.config_class)})
    return found | ({"needs": needs} if needs else {}) | ({"lacks": lacks} if lacks else {})


def _refusal(method: type[PeftMethod], make: Make, settings: Mapping[str, Any], *, merge: bool = False) -> str:
    """Why a method cannot train, or be merged, in a tiny model; empty where it can."""
    model, x = make()
    try:
        adapter = inarch.attach(model, method(**settings, **({} if _chooses(method) else {"targets": (PART,)})))
        if merge:
            adapter.merge()
            return ""
        y = model(x)
        (y if isinstance(y, Tensor) else y.logits).float().sum().backward()
    except InarchError as error:
        return str(error)
    except Exception as error:  # what peft's layers raise where they were let in and cannot compute
        return f"{type(error).__name__}: {error}"
    return "" if any(parameter.grad is not None for parameter in adapter.parameters()) else "nothing is trained"


def _chooses(method: type[PeftMethod]) -> bool:
    """Whether it chooses its layers by itself, or adapts none."""
    return method().targets == ("@model",)


def _without(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in settings.items() if other != name}


def _is_for(method: type[PeftMethod], settings: Mapping[str, Any], task: str) -> bool:
    try:
        method.from_dict({**settings, "task_type": task}).trial_configuration()
    except InarchError:
        return False
    return True


def _layer(make: Callable[[], nn.Module], *shape: int) -> Make:
    return lambda: (Box(make()), torch.randn(shape) if shape else torch.zeros(2, 3, dtype=torch.long))


def _quantised(make: Callable[[], nn.Module], mark: str) -> Make:
    def made() -> tuple[nn.Module, Tensor]:
        box = Box(make().to("cpu"))
        setattr(box, mark, True)
        return box, torch.randn(2, 3, WIDTH)

    return made


def _language_model() -> tuple[nn.Module, Tensor]:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes)), torch.zeros(2, 3, dtype=torch.long)


LAYERS: Mapping[str, Make] = {
    "Linear": _layer(lambda: nn.Linear(WIDTH, WIDTH), 2, 3, WIDTH),
    "Conv1D": _layer(lambda: Conv1D(WIDTH, WIDTH), 2, 3, WIDTH),
    "Conv2d": _layer(lambda: nn.Conv2d(WIDTH, WIDTH, 1), 2, WIDTH, 4, 4),
    "Embedding": _layer(lambda: nn.Embedding(WIDTH, WIDTH)),
    "LayerNorm": _layer(lambda: nn.LayerNorm(WIDTH), 2, 3, WIDTH),
}
QUANTISED: Mapping[str, Make] = {
    "4bit": _quantised(lambda: bitsandbytes.nn.Linear4bit(WIDTH, WIDTH), "is_loaded_in_4bit"),
    "8bit": _quantised(lambda: bitsandbytes.nn.Linear8bitLt(WIDTH, WIDTH, has_fp16_weights=False), "is_loaded_in_8bit"),
}


@contextmanager
def _silence() -> Iterator[None]:
    """No warnings, no lines in the log, and no random numbers used up: a trial is nobody's business."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
