"""The lifecycle: methods with a penalty or a schedule take part in every optimizer step, in any loop.

PyTorch tells of the steps of all optimizers (``register_optimizer_step_pre_hook`` and ``..._post_hook``). An adapter is
concerned by the steps of an optimizer that holds one of its parameters. Before a step the gradient of the penalty is
added to the gradients, once however many batches were accumulated; after it the method is called.

A loop that changes the parameters without a step that PyTorch could tell of would leave the schedule standing still.
It is noticed at the next forward passes in training, by the versions that PyTorch counts of every parameter.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ..errors import TrainingError
from .attachments import attachments
from .method import Method
from .step import Step

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
    """Stop following."""
    _followed.discard(adapter)


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


class Clock:
    """What an adapter with a lifecycle knows of time.

    Attributes:
        steps: Optimizer steps so far.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._hidden = 0
        self._version: int | None = None

    def note(self, adapter: "Adapter") -> None:
        """The parameters were changed in a way that is known."""
        self._hidden = 0
        self._version = _version(adapter)

    def check(self, adapter: "Adapter") -> None:
        """Compare the parameters with what is known of them.

        Raises:
            TrainingError: They were changed ``HIDDEN_STEPS`` times without a step that was seen.
        """
        version = _version(adapter)
        if version == self._version:
            return
        self._hidden += self._version is not None
        self._version = version
        if self._hidden >= HIDDEN_STEPS:
            raise TrainingError(
                f'The parameters of the adapter "{adapter.name}" change, but no optimizer step is seen: '
                f"{adapter.method.name} follows torch.optim.Optimizer.step and would stand still. Train with an "
                "optimizer derived from torch.optim.Optimizer, given adapter.parameters()."
            )


def _version(adapter: "Adapter") -> int:
    return next(adapter.parameters())._version


def _refuse_hidden_steps(model: nn.Module, args: Any) -> None:
    if torch.compiler.is_compiling() or not (model.training and torch.is_grad_enabled()):
        return
    found = attachments(model)
    for adapter in found.adapters.values() if found else ():
        if adapter.clock is not None and adapter.enabled:
            adapter.clock.check(adapter)


def _concerned(optimizer: torch.optim.Optimizer) -> Iterator["Adapter"]:
    held: set[int] | None = None
    for adapter in list(_followed):
        if held is None:
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if adapter.enabled and not adapter.merged and any(id(parameter) in held for parameter in adapter.parameters()):
            yield adapter


def _before_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for adapter in _concerned(optimizer):
        with torch.enable_grad():
            penalty = adapter.method.penalty(adapter.modules)
        if penalty is not None:
            _add_gradient(penalty, [parameter for parameter in adapter.parameters() if parameter.grad is not None])


def _add_gradient(penalty: torch.Tensor, parameters: list[nn.Parameter]) -> None:
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and parameter.grad is not None:
            parameter.grad = parameter.grad + gradient


def _after_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for adapter in _concerned(optimizer):
        clock = adapter.clock
        assert clock is not None
        clock.steps += 1
        with torch.no_grad():
            changed = adapter.method.after_step(adapter.modules, Step(clock.steps, optimizer))
        if changed is not None:
            adapter.become(changed)
        clock.note(adapter)
