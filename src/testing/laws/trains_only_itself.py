"""Law 3: trains only itself, and all of itself."""

import torch
from torch import nn

from ...adapters import Adapter
from ...errors import shortened
from ..case import Case, gradients, perturb
from ..traces import Traces
from ..verdict import Broken, require

STEPS, TRIES = 8, 8
LEARNING_RATES = (1e-2, 1e-3, 1e-1)
"""Of which one must lower the loss: methods differ in what suits them."""


def trains_only_itself(case: Case) -> None:
    """Only its own parameters are trained, each gets a gradient, training lowers the loss, and the base stays the same.

    A parameter is let off where the model itself makes no use of the module it belongs to.
    """
    model = case.base()
    adapter = case.attach(model)
    require_gradients(case, model, adapter)
    _require_own_parameters(model, adapter)
    _require_falling_loss(case.for_steps(STEPS))


def _require_own_parameters(model: nn.Module, adapter: Adapter) -> None:
    own = {id(parameter) for parameter in adapter.parameters()}
    strangers = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in own]
    require(not strangers, f"These are trained too: {shortened(strangers)}.")


def require_gradients(case: Case, model: nn.Module, adapter: Adapter) -> None:
    """Every trained parameter that the model makes use of gets a gradient that is not zero.

    It is tried at several values, since at some a part may be at rest: a ReLU of two units is off at one in four.
    """
    model.train()
    without = {name for name, _ in adapter.named_parameters()}
    for seed in range(TRIES):
        perturb(adapter, seed)
        found = gradients(model, adapter, case.batch(rows=4))
        wrong = [name for name, gradient in found.items() if not torch.isfinite(gradient).all()]
        require(not wrong, f"The gradient of {shortened(wrong)} is not finite.")
        without -= {name for name, gradient in found.items() if gradient.any()}
        if not without:
            return
    forgotten = sorted(without - _idle(case, adapter))
    require(not forgotten, f"The loss does not depend on {shortened(forgotten)}: forward makes no use of it.")


def _idle(case: Case, adapter: Adapter) -> set[str]:
    """Names of the adapter's parameters that belong to parts of the base that the loss does not depend on either."""
    base = case.base().train()
    base.requires_grad_(True)
    base(**case.batch(rows=4)).loss.backward()
    used = {name for name, parameter in base.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    idle = {name for name in adapter.trained if name not in used}
    for site, module in adapter.modules.items():
        if not any(name == site or name.startswith(f"{site}.") or not site for name in used):
            idle |= {f"{site}.{key}" for key, _ in module.named_parameters()}
    return idle


def _require_falling_loss(case: Case) -> None:
    losses = []
    for learning_rate in LEARNING_RATES:
        model = case.base()
        before = Traces.of(model)
        adapter = case.attach(model)
        start = _loss(model, case)
        case.train(model, case.optimizer(adapter, learning_rate), range(STEPS), one_batch=True)
        losses.append(_loss(model, case))
        adapter.detach()
        changed = Traces.of(model).values_changed_since(before)
        require(not changed, f"Training changed the base: {shortened(changed)}.")
        if losses[-1] < start:
            return
    tried = ", ".join(f"{loss:.4f} at {rate}" for loss, rate in zip(losses, LEARNING_RATES, strict=True))
    raise Broken(f"{STEPS} steps of Adam do not lower the loss of one batch: from {start:.4f} to {tried}.")


def _loss(model: nn.Module, case: Case) -> float:
    with torch.no_grad():
        return float(model(**case.batch()).loss)
