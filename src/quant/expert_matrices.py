"""The weights of quantised fused experts, as the code that multiplies with them sees them.

Fused experts are computed in many ways: expert by expert, grouped, batched, or all experts at once. So whatever a
module does with its weights it does with an object that stands for them, and PyTorch tells of each function that it is
an argument of (``__torch_function__``). Its forms are only noted; a matrix product dequantises the experts that have
rows, one after the other. Anything else is done with the weights in floating point.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .expert_products import grouped_product, product

if TYPE_CHECKING:
    from .quantised_experts import QuantisedExperts


class ExpertMatrices:
    """The matrices of all experts of one projection, or of some of them.

    Args:
        module: The fused experts.
        name: The name of the projection's parameter, a ``QuantisedExperts``.
        experts: One expert, or that of each matrix; ``None`` stands for all in turn.
        transposed: Whether the matrices are those of the parameter transposed.
        dtype: What they are said to be in; a product is in the dtype of what they are multiplied with.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        experts: int | Tensor | None = None,
        transposed: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._module = module
        self._name = name
        self._experts = experts
        self._transposed = transposed
        self._dtype = dtype

    @property
    def weight(self) -> "QuantisedExperts":
        """The parameter, whichever the module holds now."""
        return self._module._parameters[self._name]  # type: ignore[return-value]

    @property
    def shape(self) -> torch.Size:
        """As a tensor's."""
        count, *sizes = self.weight.sizes
        matrix = sizes[::-1] if self._transposed else sizes
        if self._experts is None:
            return torch.Size((count, *matrix))
        return torch.Size((*(self._experts.shape if isinstance(self._experts, Tensor) else ()), *matrix))

    @property
    def dtype(self) -> torch.dtype:
        """As a tensor's: that of the weights before they were quantised, if nothing else is said."""
        return self._dtype or self.weight.stored.dtype

    @property
    def device(self) -> torch.device:
        """As a tensor's."""
        return self.weight.device

    @property
    def T(self) -> Any:  # noqa: N802 - a tensor's
        """As a tensor's."""
        return self.mT if len(self.shape) == 2 else self.dequantise().T

    @property
    def mT(self) -> "ExpertMatrices":  # noqa: N802 - a tensor's
        """As a tensor's."""
        return ExpertMatrices(self._module, self._name, self._experts, not self._transposed, self._dtype)

    def t(self) -> Any:
        """As a tensor's."""
        return self.T

    def transpose(self, one: int, other: int) -> Any:
        """As a tensor's."""
        dims = len(self.shape)
        if {one % dims, other % dims} == {dims - 2, dims - 1}:
            return self.mT
        return self.dequantise().transpose(one, other)

    def contiguous(self) -> "ExpertMatrices":
        """Themselves."""
        return self

    def detach(self) -> "ExpertMatrices":
        """Themselves: they are frozen."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> "ExpertMatrices":
        """As a tensor's, where they stay on their device."""
        dtype = torch.empty(0, dtype=self.dtype, device=self.device).to(*args, **kwargs).dtype
        return ExpertMatrices(self._module, self._name, self._experts, self._transposed, dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """The matrix of one expert, or of several."""
        whole = isinstance(index, Tensor) and index.dim() < 2 and not index.dtype.is_floating_point
        if self._experts is None and whole and index.dtype != torch.bool:
            return ExpertMatrices(self._module, self._name, index, self._transposed, self._dtype)
        if self._experts is None and type(index) is int:
            if not -len(self) <= index < len(self):
                raise IndexError(f"There are {len(self)} experts, and none of number {index}.")
            return ExpertMatrices(self._module, self._name, index % len(self), self._transposed, self._dtype)
        return self.dequantise()[index]

    def __getattr__(self, attribute: str) -> Any:
        """Any other attribute of the tensor."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if attribute in PLACES:
            return getattr(self.weight, attribute)
        if attribute in FACTS:
            return getattr(torch.empty(self.shape, dtype=self.dtype, device="meta"), attribute)
        return getattr(self.dequantise(), attribute)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """A function of PyTorch's with such matrices among its arguments."""
        named = dict(kwargs or {})
        product = PRODUCTS.get(function.__name__)
        if product is not None:
            return product(*args, **named)
        plain = [value.dequantise() if isinstance(value, cls) else value for value in args]
        named = {key: value.dequantise() if isinstance(value, cls) else value for key, value in named.items()}
        return function(*plain, **named)

    def dequantise(self) -> Tensor:
        """The matrices in floating point."""
        weight, experts = self.weight, self._experts
        if experts is None:
            found = weight.dequantise()
        elif isinstance(experts, Tensor) and experts.dim() == 1:
            found = torch.stack([weight.matrix(expert).dequantise() for expert in experts.tolist()])
        else:
            found = weight.matrix(int(experts)).dequantise()
        return (found.mT if self._transposed else found).to(self.dtype)

    def after(self, x: Tensor) -> Tensor:
        """``x`` times the matrices, as ``torch.matmul`` has it; in the dtype of ``x``, or that of autocast."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        *several, in_features, out_features = self.shape
        if several and x.dim() not in (2, 3):
            return torch.matmul(x, self.dequantise().to(x.dtype))
        x = x.expand(*several, *x.shape[-2:]) if several else x
        y = self._rows_after(x.reshape(-1, in_features))
        return y.view(*x.shape[:-1], out_features)

    def grouped_after(self, x: Tensor, ends: Tensor) -> Tensor:
        """Each row of ``x`` times the matrix of its expert; the rows of expert e end at ``ends[e]``."""
        return grouped_product(x, self.weight, ends, self._transposed)

    def _rows_after(self, x: Tensor) -> Tensor:
        """As many rows for each matrix, one matrix after the other."""
        weight, experts, count = self.weight, self._experts, self.weight.sizes[0]
        if experts is None:  # the ends stay on the processor, where they are read
            ends = torch.arange(1, count + 1) * (x.shape[0] // count)
            return grouped_product(x, weight, ends, self._transposed)
        if not isinstance(experts, Tensor) or experts.dim() == 0:
            return product(x, weight, int(experts), self._transposed)
        of_rows = experts.repeat_interleave(x.shape[0] // experts.shape[0])
        of_rows, order = torch.sort(of_rows, stable=True)
        ends = torch.searchsorted(of_rows, torch.arange(count, device=x.device), right=True)
        y = grouped_product(x[order], weight, ends, self._transposed)
        return y[torch.argsort(order)]


class ExpertsAttribute:
    """What a module reads under the name of a parameter that is quantised now, or was: that or its matrices.

    Something else may be held there for a while, such as a merged weight in floating point.

    Args:
        module: The fused experts.
        name: The name of the parameter.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module = module
        self._name = name

    @property
    def held(self) -> Any:
        """What the module holds now."""
        weight: Any = self._module._parameters[self._name]
        return weight if weight.is_floating_point() else ExpertMatrices(self._module, self._name)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(self.held, attribute)

    def __getitem__(self, index: Any) -> Any:
        return self.held[index]

    def __len__(self) -> int:
        return len(self.held)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The function of what is held."""
        held = [value.held if isinstance(value, cls) else value for value in args]
        named = {key: value.held if isinstance(value, cls) else value for key, value in (kwargs or {}).items()}
        return function(*held, **named)


def _linear(x: Tensor, weight: ExpertMatrices, bias: Tensor | None = None) -> Tensor:
    y = weight.mT.after(x)
    return y if bias is None else y + bias


def _matmul(a: Any, b: Any) -> Tensor:
    if isinstance(b, ExpertMatrices):
        return b.after(a)
    if b.dim() == 1:
        return torch.matmul(a.dequantise().to(b.dtype), b)
    y: Tensor = a.mT.after(b.mT).mT
    return y


def _grouped(x: Tensor, weight: ExpertMatrices, offs: Tensor, **named: Any) -> Tensor:
    return weight.grouped_after(x, offs)


PRODUCTS: Mapping[str, Callable[..., Tensor]] = {
    "linear": _linear,
    "matmul": _matmul,
    "__matmul__": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "grouped_mm": _grouped,
    "_grouped_mm": _grouped,
    "grouped_mm_fallback": _grouped,
}
"""The functions that multiply with a weight, by their names."""

FACTS = frozenset(
    {"ndim", "dim", "size", "numel", "stride", "layout", "requires_grad", "is_leaf", "grad"}
    | {"is_contiguous", "is_floating_point", "is_complex", "element_size", "nelement"}
)
"""What else may be asked of a tensor without its values."""

PLACES = frozenset({"is_cuda", "is_cpu", "is_meta", "get_device", "data_ptr"})
"""What may be asked of where it lies."""
