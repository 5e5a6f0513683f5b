"""Law 7: holds on 4-bit and 8-bit bases."""

import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...errors import shortened
from ..case import Case, difference, logits
from ..traces import Traces
from ..verdict import NotRun, Refused, require
from .trains_only_itself import require_gradients

STEPS = 6
ROUNDING = 1e-4
"""What two computations of one result may differ by where the base computes in half precision."""

FORMATS: Mapping[str, Mapping[str, Any]] = {
    "4 bits": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "8 bits": {"load_in_8bit": True},
}
"""The bases, as transformers' ``BitsAndBytesConfig`` is asked for them."""


def holds_on_quantised_bases(case: Case) -> None:
    """On a base loaded in 4 or 8 bits it starts from the base, trains, and leaves the stored weights alone.

    The bases are those that transformers loads through bitsandbytes. They are held in training mode: on some
    processors bitsandbytes repacks a 4-bit weight at its first call in evaluation mode.
    """
    case.attach(case.base())  # what refuses the plain base too says so in the same words
    refusals = []
    for stored, settings in FORMATS.items():
        try:
            _hold(case.for_steps(STEPS), _loaded(case, stored, settings))
        except Refused as refusal:
            refusals.append(f"In {stored}: {refusal}")
    if refusals:
        raise Refused(" ".join(refusals))


def _hold(case: Case, model: nn.Module) -> None:
    model.train()
    plain, before = logits(model, case.batch()), Traces.of(model)
    adapter = case.attach(model)
    changed = difference(logits(model, case.batch()), plain)
    if case.method.starts_from_base:
        require(changed <= ROUNDING, f"Attached, it changes the answers by {changed:.1e} of the largest.")
    require_gradients(case, model, adapter)
    optimizer = case.optimizer(adapter)
    for step in range(STEPS):
        model(**case.batch(seed=step)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapter.detach()
    traces = Traces.of(model).changed_since(before)
    require(not traces, f"Detached, it leaves a trace: {shortened(traces)}.")


def _loaded(case: Case, stored: str, settings: Mapping[str, Any]) -> nn.Module:
    """The base as transformers loads it in a format; a new head stays as it is, since it is to be trained."""
    from transformers import BitsAndBytesConfig, PreTrainedModel

    base = case.base()
    if not isinstance(base, PreTrainedModel):
        raise NotRun(f"{type(base).__name__} is no model of transformers, so it cannot be loaded in {stored}.")
    head = [name for name, _ in base.named_children() if name != base.base_model_prefix] or None
    try:
        config = BitsAndBytesConfig(**settings, llm_int8_skip_modules=head if case.family.has_new_head else None)
        with tempfile.TemporaryDirectory() as folder:
            base.save_pretrained(folder)
            model: nn.Module = type(base).from_pretrained(
                folder, quantization_config=config, device_map="cpu", dtype=case.dtype
            )
    except Exception as error:  # transformers, accelerate and bitsandbytes raise many kinds, and none is the method's
        raise NotRun(f"No base in {stored} here: {type(error).__name__}: {error}") from error
    return model
