"""Linear maps whose weight is stored in four or eight bits, in bitsandbytes' bytes."""

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import FormatError
from ..kernels import FourBit, Int8
from .formats import WeightFormat, summed, weight_format
from .product import linear

Stored = FourBit | Int8


class QuantisedWeight(nn.Parameter):
    """The codes of a weight, frozen, with what they stand for.

    Attributes:
        stored: The weight; its codes are this parameter's data.
    """

    stored: Stored

    def __new__(cls, stored: Stored) -> Self:
        """The codes of ``stored``."""
        weight = torch.Tensor._make_subclass(cls, stored.tensors()[""], False)
        weight.stored = stored
        return weight

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with codes and scales of its own."""
        if id(self) not in memo:
            memo[id(self)] = type(self)(copy.deepcopy(self.stored, memo))
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """The stored weight is what a pickle holds."""
        return type(self), (self.stored,)


class QuantisedLinear(nn.Module):
    """``y = W x + b`` with W stored in few bits; nothing of the size of W is kept from forward to backward.

    It is abstract without being an ``ABC``: the look-up of a weight format by type, which compiled code does too, asks
    for the age of a cache once such a class is registered, and the compiler cannot follow it there.

    Args:
        stored: The weight.
        bias: The bias, or none.
    """

    def __init__(self, stored: Stored, bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = stored.shape
        self.weight = QuantisedWeight(stored)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The linear map of the dequantised weight, in the dtype of ``x``."""
        if not torch.compiler.is_compiling():
            return linear(x, self.weight.stored, self.bias)
        y: Tensor = _Product.apply(x, self.weight.stored)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def extra_repr(self) -> str:
        """As ``nn.Linear`` says it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    @abstractmethod
    def quantised(self, value: Tensor) -> Stored:
        """Another weight, stored as this one."""

    @abstractmethod
    def read(self, entries: dict[str, Tensor], name: str) -> Stored:
        """What the entries of a checkpoint stand for, by what follows the weight's name there."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Scales are float32 whatever the model is cast to: they follow the codes to their device, and nothing else.
        super()._apply(fn, recurse)
        self.weight.stored = self.weight.stored.to(self.weight.device)
        self.weight.data = self.weight.stored.tensors()[""]  # the codes once, not a moved copy beside these
        return self

    def _entry(self, prefix: str, name: str) -> str:
        """The name in a checkpoint of what stands beside the weight."""
        return f"{prefix}weight.{name}" if name else f"{prefix}weight"

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, tensor in self.weight.stored.tensors().items():
            if name:
                destination[self._entry(prefix, name)] = tensor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        own = self._entry(prefix, "")
        names = {key: name for name in self.weight.stored.tensors() if (key := self._entry(prefix, name)) in state_dict}
        names |= {key: key.removeprefix(own + ".") for key in state_dict if key.startswith(own + ".")}
        stored = self.read({name: state_dict[key] for key, name in names.items()}, own)
        if tuple(stored.shape) != (self.out_features, self.in_features):
            raise FormatError(
                f"{own} is {tuple(stored.shape)} in the file, and {(self.out_features, self.in_features)} here: the "
                "file is of another model."
            )
        self.weight.stored = stored.to(self.weight.device)
        self.weight.data = self.weight.stored.tensors()[""]
        rest = {key: value for key, value in state_dict.items() if key not in names}
        super()._load_from_state_dict({**rest, own: self.weight.data}, prefix, *others)


class FourBitLinear(QuantisedLinear):
    """In four bits: NF4 or FP4."""

    weight: QuantisedWeight

    @classmethod
    def of(cls, linear: nn.Module, kind: Literal["nf4", "fp4"] = "nf4", *, double: bool = True) -> Self:
        """A linear map quantised.

        Raises:
            FormatError: Its weight is of a dtype that is no precise one itself.
        """
        weight = _precise(linear)
        return cls(FourBit.quantise(weight.contiguous(), kind, double=double), linear.bias)  # type: ignore[arg-type]

    def quantised(self, value: Tensor) -> FourBit:
        """Another weight, in the same kind of four bits."""
        stored = self.weight.stored
        assert isinstance(stored, FourBit)
        return FourBit.quantise(value, stored.kind, blocksize=stored.blocksize, double=stored.nested is not None)

    def read(self, entries: dict[str, Tensor], name: str) -> FourBit:
        """From the entries that bitsandbytes writes too."""
        return FourBit.from_tensors(entries, name)


class Int8Linear(QuantisedLinear):
    """In eight bits, with a scale for each output."""

    @classmethod
    def of(cls, linear: nn.Module) -> Self:
        """A linear map quantised.

        Raises:
            FormatError: Its weight is of a dtype that is no precise one itself.
        """
        return cls(Int8.quantise(_precise(linear)), linear.bias)  # type: ignore[arg-type]

    def quantised(self, value: Tensor) -> Int8:
        """Another weight in eight bits."""
        return Int8.quantise(value)

    def read(self, entries: dict[str, Tensor], name: str) -> Int8:
        """From the entries that bitsandbytes writes too; they do not say the dtype, so it stays."""
        return Int8.from_tensors(entries, self.weight.stored.dtype, name)

    def _entry(self, prefix: str, name: str) -> str:
        return f"{prefix}{name or 'weight'}"


class QuantisedLinearFormat(WeightFormat):
    """The format of ``QuantisedLinear``."""

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the module's declared sizes."""
        return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]

    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight in the dtype it had."""
        assert isinstance(module, QuantisedLinear)
        return module.weight.stored.dequantise()

    def operand(self, module: nn.Module) -> Stored:
        """The weight, as the kernels take it."""
        assert isinstance(module, QuantisedLinear)
        return module.weight.stored

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """The sum, quantised again: what is lost is the rounding of the format, once more."""
        assert isinstance(module, QuantisedLinear)
        assert isinstance(weight, QuantisedWeight)
        return QuantisedWeight(module.quantised(summed(weight.stored.dequantise(), delta)))


weight_format.register(QuantisedLinear, lambda module: QuantisedLinearFormat())


def _precise(linear: nn.Module) -> Tensor:
    """The weight of a linear map, of a dtype that can be quantised."""
    weight = weight_format(linear).dequantised(linear)
    if weight.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        raise FormatError(
            f"This {type(linear).__name__} has a weight of {weight.dtype}, which cannot be quantised: load the model "
            "in float32, bfloat16 or float16."
        )
    return weight


class _Product(torch.autograd.Function):
    """``x W^T`` in a form that compilers follow; the weight is dequantised in both passes, and never kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stored: Stored) -> Tensor:
        ctx.stored = stored
        return functional.linear(x, stored.dequantise(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None]:
        (gradient,) = gradients
        return gradient @ ctx.stored.dequantise(gradient.dtype), None
