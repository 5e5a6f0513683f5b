"""Liger: norms and gated feed-forward blocks by the kernels of liger-kernel, found by what they compute."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters.anatomy import anatomy
from ..adapters.part import base_modules
from ..adapters.slot import Slot
from ..errors import ConfigError
from .feature import Declined, Feature
from .probe import WithoutDropout, reproducible

TOLERANCE = {2: 1e-2, 4: 1e-5, 8: 1e-5}
"""How far output and gradients may lie from the module's, relative to their norm, by the bytes of an element."""

ROWS = 3
SCALES = (1.0, 1e-3)
"""Of the inputs that a norm is tried on; on the small ones its epsilon shows."""

CASTING_MODES = ("llama", "gemma", "none")
"""Liger's names for the places where half precision is cast to float32 in a norm, and back."""


@dataclass(frozen=True)
class LigerFunctions:
    """The three functions of liger-kernel that are used.

    Attributes:
        rms_norm: ``x / sqrt(mean(x^2) + epsilon) * (offset + weight)`` of x, weight, epsilon, offset, casting mode.
        silu_mul: ``silu(gate) * up``.
        gelu_mul: ``gelu(gate) * up``, with the tanh approximation.
    """

    rms_norm: Callable[[Tensor, Tensor, float, float, str], Tensor]
    silu_mul: Callable[[Tensor, Tensor], Tensor]
    gelu_mul: Callable[[Tensor, Tensor], Tensor]


def liger_functions() -> LigerFunctions:
    """Those of the installed liger-kernel.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import liger_kernel.ops  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"liger-kernel is not installed ({error}). Install it: pip install 'inarch[liger]'."
        ) from error
    return LigerFunctions(_rms_norm, _silu_mul, _gelu_mul)


def _rms_norm(x: Tensor, weight: Tensor, epsilon: float, offset: float, casting_mode: str) -> Tensor:
    from liger_kernel.ops import LigerRMSNormFunction

    # Not in place: where the residual stream needs the gradient too, liger would overwrite it.
    y: Tensor = LigerRMSNormFunction.apply(x, weight, epsilon, offset, casting_mode, False, None)
    return y


def _silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    from liger_kernel.ops import LigerSiLUMulFunction

    y: Tensor = LigerSiLUMulFunction.apply(gate, up)
    return y


def _gelu_mul(gate: Tensor, up: Tensor) -> Tensor:
    from liger_kernel.ops import LigerGELUMulFunction

    y: Tensor = LigerGELUMulFunction.apply(gate, up)
    return y


class Liger(Feature):
    """Liger's kernels for RMS norms, and for the products of gated feed-forward blocks (arXiv:2410.10989).

    A module is swapped for what it computes, not for its name: it is tried on random inputs, and where a function of
    liger gives the same output and the same gradients, its instance gets a ``forward`` that calls that. The maps of a
    feed-forward block are called as ever, with their adapters.

    Args:
        functions: Stand-ins for liger's functions, that run anywhere; liger's own need a GPU.
    """

    name = "liger"

    def __init__(self, functions: LigerFunctions | None = None) -> None:
        self._functions = functions
        self._swapped: list[nn.Module] = []

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        """Swap what liger computes the same."""
        functions = self._functions or _usable(model)
        norms = dict(_norms(model, functions.rms_norm))
        blocks = dict(_gated_blocks(model, functions))
        if not norms and not blocks:
            raise Declined("no module computes an RMS norm or a gated product of liger's")
        for module, forward in {**norms, **blocks}.items():
            vars(module)["forward"] = forward
            self._swapped.append(module)
        return f"{len(norms)} norms and {len(blocks)} gated feed-forward blocks by liger's kernels"

    def stop(self, model: nn.Module) -> None:
        """Take the forwards away again."""
        while self._swapped:
            vars(self._swapped.pop()).pop("forward", None)


def _usable(model: nn.Module) -> LigerFunctions:
    devices = {parameter.device.type for parameter in model.parameters()}
    if devices != {"cuda"}:
        raise Declined(f"liger needs a GPU, and the model is on {' and '.join(sorted(devices)) or 'no device'}")
    try:
        return liger_functions()
    except ConfigError as error:
        raise Declined(str(error)) from error


@dataclass(frozen=True)
class _Norm:
    """How a norm is computed.

    Attributes:
        function: Liger's function.
        weight: Name of its parameter.
        epsilon: Added to the mean of squares.
        offset: Added to the weight.
        casting_mode: Where it casts.
    """

    function: Callable[[Tensor, Tensor, float, float, str], Tensor]
    weight: str
    epsilon: float
    offset: float
    casting_mode: str

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.function(x, weight, self.epsilon, self.offset, self.casting_mode)


def _norms(model: nn.Module, function: Callable[..., Tensor]) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    """The modules that are RMS norms, each with its new forward; those of one class and settings are tried once."""
    known: dict[Any, _Norm | None] = {}
    for _, module in base_modules(model):
        weight = _only_vector(module)
        if weight is None or "forward" in vars(module):
            continue
        vector: Tensor = getattr(module, weight)
        settings = tuple(
            (key, value) for key, value in vars(module).items() if isinstance(value, bool | int | float | str)
        )
        key = (type(module), vector.dtype, vector.device, vector.shape, settings)
        if key not in known:
            known[key] = _tried_norm(module, weight, function)
        norm = known[key]
        if norm is not None:
            yield module, partial(_norm_forward, module, norm)


def _only_vector(module: nn.Module) -> str | None:
    """The name of the one parameter of a module that has nothing else, if it is a floating-point vector."""
    own = {name: value for name, value in module._parameters.items() if value is not None}
    below = [child for child in module._modules.values() if not isinstance(child, Slot)]
    if len(own) != 1 or below or module._buffers:
        return None
    ((name, value),) = own.items()
    return name if value.dim() == 1 and value.is_floating_point() else None


def _tried_norm(module: nn.Module, weight: str, function: Callable[..., Tensor]) -> _Norm | None:
    """How the module's norm is computed, if it is one: of those that fit, the one that fits best."""
    twin, vector = copy.copy(module), getattr(module, weight)
    with reproducible():
        drawn = nn.Parameter(torch.randn_like(vector))
        vars(twin).update(_parameters={weight: drawn}, _modules={})  # a shallow copy: the module keeps its own
        inputs = [
            scale * torch.randn(ROWS, ROWS, *vector.shape, dtype=vector.dtype, device=vector.device) for scale in SCALES
        ]
    numbers = {value for value in vars(module).values() if isinstance(value, float) and 0 < value < 1}
    epsilons = sorted(numbers | {torch.finfo(vector.dtype).eps})
    best: tuple[float, _Norm | None] = (TOLERANCE[vector.dtype.itemsize], None)
    original = partial(type(module).forward, twin)
    for epsilon, offset, mode in product(epsilons, (0.0, 1.0), CASTING_MODES):
        norm = _Norm(function, weight, epsilon, offset, mode)
        error = max(_error(original, lambda x, norm=norm: norm(x, drawn), x, [drawn]) for x in inputs)  # type: ignore[misc]
        if error < best[0]:
            best = (error, norm)
    return best[1]


def _norm_forward(module: nn.Module, norm: _Norm, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    weight = getattr(module, norm.weight)
    if torch.compiler.is_compiling() or args or kwargs or x.dtype != weight.dtype:
        return type(module).forward(module, x, *args, **kwargs)
    return norm(x, weight)


@dataclass(frozen=True)
class _Gated:
    """How a gated feed-forward block is computed.

    Attributes:
        function: Liger's product of the activated gate with the other half.
        gate: Names of its maps in the block.
        up: Likewise.
        down: Likewise.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    gate: str
    up: str
    down: str

    def __call__(self, block: nn.Module, x: Tensor) -> Any:
        gate, up, down = (block._modules[name] for name in (self.gate, self.up, self.down))
        assert gate is not None
        assert up is not None
        assert down is not None
        return down(self.function(gate(x), up(x)))


def _gated_blocks(model: nn.Module, functions: LigerFunctions) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    """The modules that are gated feed-forward blocks, each with its new forward."""
    maps: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for name, part in anatomy(model).parts.items():
        parent, _, key = name.rpartition(".")
        for role in part.roles & {"mlp.gate", "mlp.up", "mlp.down"} if part.kind == "linear" else ():
            maps.setdefault(parent, {}).setdefault(role, []).append((key, part.features[0]))
    dtype = getattr(model, "dtype", torch.float32)
    for name, roles in maps.items():
        block = model.get_submodule(name)
        if len(roles) != 3 or any(len(found) != 1 for found in roles.values()) or "forward" in vars(block):
            continue
        (gate, size), (up, _), (down, _) = (roles[role][0] for role in ("mlp.gate", "mlp.up", "mlp.down"))
        for function in (functions.silu_mul, functions.gelu_mul):
            gated = _Gated(function, gate, up, down)
            if _is_same_block(block, gated, size, dtype):
                yield block, partial(_gated_forward, block, gated)
                break


def _is_same_block(block: nn.Module, gated: _Gated, size: int, dtype: torch.dtype) -> bool:
    device = next(block.parameters()).device
    with reproducible(), WithoutDropout():
        x = torch.randn(1, ROWS, size, dtype=dtype, device=device)
        error = _error(partial(type(block).forward, block), partial(gated, block), x, [])
    return error < TOLERANCE[dtype.itemsize]


def _gated_forward(block: nn.Module, gated: _Gated, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if torch.compiler.is_compiling() or args or kwargs:
        return type(block).forward(block, x, *args, **kwargs)
    return gated(block, x)


def _error(
    first: Callable[[Tensor], Any], second: Callable[[Tensor], Any], x: Tensor, parameters: list[Tensor]
) -> float:
    """The largest difference of output and gradients, relative to their norms; infinite where one cannot be had."""
    try:
        (*expected,), (*found,) = (_with_gradients(function, x, parameters) for function in (first, second))
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return float("inf")
    if any(a.dtype != b.dtype or a.shape != b.shape for a, b in zip(expected, found, strict=True)):
        return float("inf")
    norms = [
        (float(a.double().norm()), float((a.double() - b.double()).norm()))
        for a, b in zip(expected, found, strict=True)
    ]
    return max(apart / norm if norm else float("inf") for norm, apart in norms)


def _with_gradients(function: Callable[[Tensor], Any], x: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y: Tensor = function(x)
        weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y)
        return y.detach(), *torch.autograd.grad(y, (x, *parameters), weights)
