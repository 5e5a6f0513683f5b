"""The lifecycle: methods with a penalty or a schedule take part in every optimizer step, in any loop.

PyTorch tells of the steps of all optimizers (``register_optimizer_step_pre_hook`` and ``..._post_hook``). An adapter is
concerned by the steps of an optimizer that holds one of its parameters. Before a step the gradient of the penalty is
added to the gradients: once however many batches were accumulated, and after any clipping. After it the method is
called. Where several optimizers share out one adapter's parameters, each gets the penalty's gradient for its own.

A loop that changes the parameters without a step that PyTorch could tell of would leave the schedule standing still. It
is noticed in the forward passes in training, by the values of the parameters.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ..errors import TrainingError
from .attachments import attachments
from .clock import Clock
from .method import Method

if TYPE_CHECKING:
    from .adapter import Adapter

HIDDEN_STEPS = 3
"""Changes of the parameters between forward passes, without a step seen, after which a loop is refused: fewer could be
a ``load_state_dict``."""

_followed: WeakSet["Adapter"] = WeakSet()
_hooks: list[Any] = []


def has_lifecycle(method: Method) -> bool:
    """Whether the method wants to know of optimizer steps."""
    kind = type(method)
    return kind.penalty is not Method.penalty or kind.after_step is not Method.after_step


def follow(adapter: "Adapter") -> None:
    """Call the adapter's method at the steps of the optimizers that hold its parameters, from now on."""
    if not _hooks:
        _hooks.append(register_optimizer_step_pre_hook(_before_step))
        _hooks.append(register_optimizer_step_post_hook(_after_step))
    _followed.add(adapter)


def unfollow(adapter: "Adapter") -> None:
    """Stop following; with the last adapter the hooks on optimizers go."""
    _followed.discard(adapter)
    while _hooks and not _followed:
        _hooks.pop().remove()


def watch(model: nn.Module) -> None:
    """Notice hidden steps in the forward passes of ``model``."""
    if _refuse_hidden_steps not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_refuse_hidden_steps)


def unwatch(model: nn.Module) -> None:
    """Undo ``watch``, unless another adapter of the model still needs it."""
    found = attachments(model)
    if found is not None and any(has_lifecycle(adapter.method) for adapter in found.adapters.values()):
        return
    for key in [key for key, hook in model._forward_pre_hooks.items() if hook is _refuse_hidden_steps]:
        del model._forward_pre_hooks[key]


def _refuse_hidden_steps(model: nn.Module, args: Any) -> None:
    if torch.compiler.is_compiling() or not (model.training and torch.is_grad_enabled()):
        return
    found = attachments(model)
    for adapter in found.adapters.values() if found else ():
        if adapter.clock is None or not adapter.enabled:
            continue
        adapter.clock.look(adapter.parameters())
        if adapter.clock.hidden >= HIDDEN_STEPS:
            raise TrainingError(
                f'The parameters of the adapter "{adapter.name}" change, but no optimizer step is seen: '
                f"{adapter.method.name} follows torch.optim.Optimizer.step and would stand still. Train with an "
                "optimizer derived from torch.optim.Optimizer, given adapter.parameters()."
            )


def _concerned(optimizer: Optimizer) -> Iterator[tuple["Adapter", Clock, list[nn.Parameter]]]:
    """The adapters that a step of ``optimizer`` concerns, with those of their parameters that it holds."""
    everything = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for adapter in list(_followed):
        held = [parameter for parameter in adapter.parameters() if id(parameter) in everything]
        if held and adapter.clock is not None and adapter.enabled and not adapter.merged:
            yield adapter, adapter.clock, held


def _before_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for adapter, clock, held in _concerned(optimizer):
        if not clock.begins(optimizer):
            continue
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # args[0] is the optimizer itself
        if closure is None:
            _add_penalty(adapter, held, getattr(optimizer, "grad_scale", None))
            continue
        again = _with_penalty(closure, adapter, held, clock)
        args, kwargs = ((args[0], again, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": again})
    return args, kwargs


def _with_penalty(
    closure: Callable[[], Any], adapter: "Adapter", held: list[nn.Parameter], clock: Clock
) -> Callable[[], Any]:
    """A closure that computes the gradients within the step, with the penalty's added."""

    def with_penalty() -> Any:
        loss = clock.within(closure)
        _add_penalty(adapter, held, None)
        return loss

    return with_penalty


def _add_penalty(adapter: "Adapter", held: list[nn.Parameter], scale: Any) -> None:
    """Add the gradient of the method's penalty, times the ``scale`` of gradients that an optimizer unscales itself."""
    if all(parameter.grad is None for parameter in held):
        return
    with torch.enable_grad():
        penalty = adapter.method.penalty(adapter.modules)
    if penalty is None:
        return
    gradients = torch.autograd.grad(penalty if scale is None else penalty * scale, held, allow_unused=True)
    for parameter, gradient in zip(held, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _after_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    skipped = getattr(optimizer, "found_inf", None)  # a GradScaler's, where the optimizer skips the step itself
    for adapter, clock, held in _concerned(optimizer):
        if not clock.ends(optimizer) or (skipped is not None and bool(skipped)):
            continue
        step = clock.count(optimizer, held)
        if step is None:
            continue
        with torch.no_grad():
            changed = adapter.method.after_step(adapter.modules, step)
        if changed is not None:
            adapter.become(changed)
