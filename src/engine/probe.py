"""The probe: what a model's loss and gradients are on a batch, and how far two of them lie apart."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..adapters.attachments import attachments
from ..adapters.slot import slot_of
from ..errors import DataError, ModelError, shortened

LOSS_TOLERANCE = {2: 1e-2, 4: 1e-4}
"""How far two losses may lie apart, relative to the first, by the bytes of an element of the base's dtype."""

COSINE = 0.999
"""The least cosine of the gradients of all trainable parameters."""

NORM_TOLERANCE = 5e-2
"""How far the norms of the gradients may lie apart, relative to the first: as far as ``COSINE`` lets them turn away."""

NOTICEABLE = 1e-3
"""The share of all gradients' norm above which a parameter's gradient is no rounding of zero."""

LARGEST_STATE = 2**24
"""Elements of a buffer above which it is a packed weight rather than a statistic, and not copied."""

SEED = 0


@dataclass(frozen=True)
class Measured:
    """What a training step on a batch gives.

    Attributes:
        loss: The loss.
        gradients: Of the trainable parameters that have one, by name, on the CPU, in float32 or more.
    """

    loss: float
    gradients: Mapping[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """How far two measurements lie apart.

    Attributes:
        loss: Of the losses, relative to the first.
        cosine: Of the gradients of all parameters taken together; 1 where both are zero, 0 where one is.
        norm: Of their norms, relative to the first.
        lost: Names of the parameters that get a gradient in only one of the two.
    """

    loss: float
    cosine: float
    norm: float
    lost: tuple[str, ...]

    def reason(self, dtype: torch.dtype) -> str:
        """Why they are not the same but for rounding; empty where they are.

        Args:
            dtype: What the base model computes in.
        """
        tolerance = LOSS_TOLERANCE.get(dtype.itemsize, LOSS_TOLERANCE[4])
        if not self.loss <= tolerance:  # said so that NaN does not pass
            return f"it changes the loss by {self.loss:.2g} of itself, more than {tolerance:g}"
        if self.lost:
            return f"a gradient comes or goes: {shortened(self.lost)}"
        if not self.cosine > COSINE:
            return f"it turns the gradients: their cosine is {self.cosine:.6f}, not above {COSINE}"
        if not self.norm <= NORM_TOLERANCE:
            return f"it changes the norm of the gradients by {self.norm:.2g} of itself, more than {NORM_TOLERANCE:g}"
        return ""


def difference(before: Measured, after: Measured) -> Difference:
    """How far ``after`` lies from ``before``."""
    names = list(dict.fromkeys([*before.gradients, *after.gradients]))
    first, second = (
        {name: float(torch.linalg.vector_norm(each.gradients[name].double())) for name in each.gradients}
        for each in (before, after)
    )
    norms = [sum(value**2 for value in each.values()) ** 0.5 for each in (first, second)]
    product = sum(
        float(torch.dot(before.gradients[name].double().flatten(), after.gradients[name].double().flatten()))
        for name in names
        if name in first and name in second
    )
    least = NOTICEABLE * max(norms)
    lost = [
        name for name in names if (first.get(name, 0.0) == 0.0) != (second.get(name, 0.0) == 0.0)
        and max(first.get(name, 0.0), second.get(name, 0.0)) > least
    ]  # fmt: skip
    return Difference(
        loss=_relative(before.loss, after.loss),
        cosine=product / (norms[0] * norms[1]) if all(norms) else float(norms[0] == norms[1]),
        norm=_relative(norms[0], norms[1]),
        lost=tuple(lost),
    )


def _relative(first: float, second: float) -> float:
    return 0.0 if first == second else abs(second - first) / max(abs(first), torch.finfo(torch.float32).tiny)


def measure(model: nn.Module, batch: Mapping[str, Any]) -> Measured:
    """The loss of ``model`` on ``batch`` and its gradients, in training mode and without dropout.

    Whatever else is random is drawn from one seed, so that two measurements are comparable. The model and the random
    generators are left as they were.

    Args:
        model: The model; its output has a ``loss``.
        batch: What it is called with.

    Raises:
        DataError: The model gives no loss on the batch.
        ModelError: The forward pass writes to a buffer as large as a weight, which could not be put back.
    """
    with untouched(model), reproducible(), torch.enable_grad(), WithoutDropout():
        loss = getattr(model(**batch), "loss", None)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise DataError(
                f"{type(model).__name__} gives no loss on the batch ({shortened(batch)}). Give a batch with labels."
            )
        if loss.requires_grad:
            _backward(loss)
        return Measured(float(loss.detach()), dict(_gradients(model)))


def _backward(loss: Tensor) -> None:
    """``loss.backward()``, which itself would switch ``WithoutDropout`` off for what is recomputed in it."""
    engine = torch.autograd.Variable._execution_engine
    one = torch.ones_like(loss)
    engine.run_backward((loss,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _gradients(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient is not None:
            yield name, gradient.to("cpu", torch.promote_types(gradient.dtype, torch.float32), copy=True)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Within, the model is in training mode and has no gradients; afterwards it is as it was."""
    training = [(module, module.training) for module in model.modules()]
    adapters = {id(each) for module in model.modules() if (slot := slot_of(module)) for each in slot.modules()}
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [
        (module, key, buffer, buffer._version, buffer.clone() if buffer.numel() <= LARGEST_STATE else None)
        for module in model.modules()
        for key, buffer in module._buffers.items()
        if buffer is not None
    ]
    found = attachments(model)
    clocks = [(each.clock, dict(vars(each.clock))) for each in found.adapters.values() if each.clock] if found else []
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        for module, _ in training:
            module.training = id(module) not in adapters  # of adapters the mode decides only whether they drop out
        yield
    finally:
        for module, mode in training:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for clock, state in clocks:
            vars(clock).update(state)
        for module, key, buffer, version, value in buffers:
            _put_back(module, key, buffer, version, value)


def _put_back(module: nn.Module, key: str, buffer: Tensor, version: int, value: Tensor | None) -> None:
    module._buffers[key] = buffer
    if value is not None:
        if not torch.equal(buffer, value):  # versions do not tell: batch norm's own kernels leave them
            with torch.no_grad():
                buffer.copy_(value)
    elif buffer._version != version:
        raise ModelError(
            f"The forward pass of {type(module).__name__} writes to its buffer {key} of {buffer.numel()} elements, "
            "which is too large to be copied: the engine cannot try features on this model."
        )


@contextmanager
def reproducible() -> Iterator[None]:
    """Within, all random generators begin with one seed; afterwards they go on as if nothing had been drawn."""
    import numpy

    python, of_numpy = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        random.seed(SEED)
        numpy.random.seed(SEED)
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(of_numpy)


class WithoutDropout(TorchFunctionMode):
    """Dropout gives back its input, wherever it is called; in a backward pass too, where blocks are recomputed."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        place = _PROBABILITIES.get(func)
        if place is not None and len(args) > place:
            args = (*args[:place], 0.0, *args[place + 1 :])
        elif place is not None:
            kwargs = kwargs | {"dropout_p": 0.0}
        return func(*args, **kwargs)


_PROBABILITIES: dict[Any, int] = {
    functional.scaled_dot_product_attention: 4,
    functional.multi_head_attention_forward: 10,
}
"""Functions that drop out within, and the place of ``dropout_p`` among their arguments."""

_DROPOUTS = frozenset(
    {
        torch.dropout,
        torch.feature_dropout,
        torch.alpha_dropout,
        torch.feature_alpha_dropout,
        functional.dropout,
        functional.dropout1d,
        functional.dropout2d,
        functional.dropout3d,
        functional.alpha_dropout,
        functional.feature_alpha_dropout,
    }
)
