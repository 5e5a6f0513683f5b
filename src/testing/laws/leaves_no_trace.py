"""Law 5: leaves no trace."""

import torch
from torch import Tensor, nn

from ...adapters import Adapter
from ...adapters.attach import adapters
from ...adapters.slot import SLOT
from ...errors import shortened
from ..case import Case, logits, perturb
from ..traces import Traces
from ..verdict import Refused, require

STEPS = 6


def leaves_no_trace(case: Case) -> None:
    """Detached, even after training, it leaves the base as it was to the bit: answers, values, hooks, attributes.

    While it is attached every base module keeps its name and type, and disabled it is the base. A method that says no
    to a model leaves no trace either.
    """
    case = case.for_steps(STEPS)
    model = case.base()
    next(model.parameters()).requires_grad_(False)  # a base of which a part was frozen before
    answer, before = logits(model, case.batch()), Traces.of(model)
    try:
        adapter = case.attach(model)
    except Refused:
        _require_untouched(model, before, "It said no, and yet it changed")
        raise
    _require_same_names(model, before)
    _require_switch(case, model, adapter, answer)
    case.train(model, case.optimizer(adapter), range(1))
    adapter.detach()
    _require_untouched(model, before, "Detached, it leaves a trace:")
    require(torch.equal(logits(model, case.batch()), answer), "Detached, the model answers otherwise than before.")
    require(not adapters(model), "Detached, it is listed all the same.")


def _require_untouched(model: nn.Module, before: Traces, otherwise: str) -> None:
    changed = Traces.of(model).changed_since(before)
    require(not changed, f"{otherwise} {shortened(changed)}.")


def _require_same_names(model: nn.Module, before: Traces) -> None:
    names = [name for name in model.state_dict() if SLOT not in name.split(".")]
    missing = [name for name in before.values if name not in names]
    require(not missing, f"Attached, it hides tensors of the base: {shortened(missing)}.")
    types = {f"the type of {name or type(model).__name__}": type(module) for name, module in model.named_modules()}
    changed = [name for name, found in before.facts.items() if name in types and types[name] is not found]
    require(not changed, f"Attached, it changes {shortened(changed)}.")


def _require_switch(case: Case, model: nn.Module, adapter: Adapter, base: Tensor) -> None:
    perturb(adapter)
    require(not torch.equal(logits(model, case.batch()), base), "Its parameters make no difference to the answers.")
    with adapter.disabled():
        require(torch.equal(logits(model, case.batch()), base), "Disabled, the model answers otherwise than the base.")
