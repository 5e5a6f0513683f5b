"""The experts seam: adapters inside fused experts, at every product with a projection's weight.

Fused experts hold the weights of all experts as one parameter for each projection, and multiply with it in many ways:
expert by expert, grouped, batched, or all experts at once. While an adapter sits there, an ``ExpertWeight`` stands in
the instance's ``__dict__`` before the parameter of its name, so that reading the attribute gives it. Whatever the
module does with it is done with the parameter itself, and PyTorch tells of each function that it is an argument of
(``__torch_function__``): after a matrix product the adapters are run on the rows that were multiplied. So the base's
own code computes the base's own result, in every implementation, and the parameter is neither moved nor copied. What
stands for a quantised parameter is the ``ExpertMatrices`` that the module reads without adapters too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import FormatError
from ..quant.expert_matrices import ExpertMatrices
from ..quant.quantised_experts import QuantisedExperts, stand_in
from .experts_adapter import ExpertsAdapter
from .seam import Seam, seam_of
from .site import Site
from .slot import SLOT


class ExpertsSeam(Seam):
    """The weights of fused experts."""

    key = "experts"
    routes = True

    def open(self, site: Site) -> None:
        """Put a stand-in before each projection's parameter."""
        assert site.experts is not None
        for name in site.experts.projections:
            site.module.__dict__[name] = ExpertWeight(site.module, name, site.experts.count)

    def close(self, site: Site) -> None:
        """Take the stand-ins away; a quantised parameter gets its own back."""
        assert site.experts is not None
        for name in site.experts.projections:
            site.module.__dict__.pop(name, None)
            stand_in(site.module, name)


class ExpertWeight:
    """The weight of one projection of fused experts, or of some of the experts, with the adapters of the module.

    Args:
        module: The fused experts.
        name: The name of the projection's parameter.
        count: Number of experts.
        view: What was made of the parameter; ``None`` for the parameter itself, whichever the module holds.
        experts: The expert of a view of one, or of each in a gathered view; ``None`` where the view holds all.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        count: int,
        view: Tensor | ExpertMatrices | None = None,
        experts: int | Tensor | None = None,
    ) -> None:
        self._module = module
        self._name = name
        self._count = count
        self._view = view
        self._experts = experts

    @property
    def tensor(self) -> Any:
        """What the module would have read: a tensor, or the matrices of quantised experts."""
        if self._view is not None:
            return self._view
        parameter = self._module._parameters[self._name]
        return ExpertMatrices(self._module, self._name) if isinstance(parameter, QuantisedExperts) else parameter

    @property
    def adapted(self) -> bool:
        """Whether any adapter takes part."""
        return bool(self._adapters())

    def _adapters(self) -> list[str]:
        """The adapters that take part; in routing those of the rows that are in the block now (``RoutedBlock``)."""
        slot: Any = self._module._modules[SLOT]
        if slot.rows is not None:
            return slot.rows.of_all(slot, "experts")  # type: ignore[no-any-return]
        return [name for name, switch in slot.switches["experts"].items() if switch.on]

    def __getitem__(self, index: Any) -> Any:
        """The weight of one expert, or of several."""
        found = self.tensor[index]
        if not self.adapted:
            return found
        if self._experts is None and isinstance(index, int | Tensor):
            return ExpertWeight(self._module, self._name, self._count, found, index)
        raise self._unknown(f"read by [{index!r}]")

    def __getattr__(self, attribute: str) -> Any:
        """An attribute of the tensor; another form of the same weights has the same adapters."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        found = getattr(self.tensor, attribute)
        if not self.adapted or attribute in FACTS:
            return found
        if attribute in TRANSPOSED:
            return self._again(found)
        if attribute in FORMS:
            return lambda *args, **kwargs: self._again(found(*args, **kwargs))
        raise self._unknown(f"read by .{attribute}")

    def _again(self, tensor: Tensor | ExpertMatrices) -> "ExpertWeight":
        return ExpertWeight(self._module, self._name, self._count, tensor, self._experts)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """A function of PyTorch's with such weights among its arguments: the same of the tensors, then the adapters."""
        given: list[Any] = [*args, *(kwargs or {}).values()]
        weight = next(value for value in given if isinstance(value, cls))
        plain = [value.tensor if isinstance(value, cls) else value for value in args]
        named = {key: value.tensor if isinstance(value, cls) else value for key, value in (kwargs or {}).items()}
        if not weight.adapted:
            return function(*plain, **named)
        rows_of = PRODUCTS.get(function.__name__)
        if rows_of is None:
            raise weight._unknown(f"given to {function.__name__}")
        return rows_of(weight, function(*plain, **named), *args, **named)

    def run(self, x: Tensor, y: Tensor) -> Tensor:
        """The adapters on the product ``y`` of ``x`` with this weight; of several experts, axis 0 tells them apart."""
        experts = self._experts
        if isinstance(experts, Tensor) and experts.dim() == 1:
            return self._run_gathered(x, y, experts)
        if experts is None:
            x = x.expand(*y.shape[:-1], x.shape[-1])
            of_rows = torch.arange(self._count, device=x.device).repeat_interleave(y[0].shape[:-1].numel())
        else:
            of_rows = torch.as_tensor(experts, device=x.device).repeat(y.shape[:-1].numel())
        if y.dim() == 2:
            return self._run_sorted(x, y, of_rows)
        return self._run_sorted(x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]), of_rows).reshape(y.shape)

    def _run_gathered(self, x: Tensor, y: Tensor, experts: Tensor) -> Tensor:
        rows, out = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        of_rows, order = torch.sort(experts.repeat_interleave(rows.shape[0] // experts.shape[0]), stable=True)
        return out.index_copy(0, order, self._run_sorted(rows[order], out[order], of_rows)).reshape(y.shape)

    def _run_sorted(self, x: Tensor, y: Tensor, experts: Tensor) -> Tensor:
        ends = torch.searchsorted(experts, torch.arange(self._count, device=x.device), right=True, out_int32=True)
        return self.run_grouped(x, y, experts, ends)

    def run_grouped(self, x: Tensor, y: Tensor, experts: Tensor, ends: Tensor) -> Tensor:
        """The adapters on rows that are sorted by expert."""
        slot: Any = self._module._modules[SLOT]
        for name in self._adapters():
            weight = slot.switches["experts"][name].weight
            changed = slot._modules[name].forward(self._name, x, y, experts, ends)
            y = changed if weight == 1.0 else torch.lerp(y, changed, weight)
        return y

    def _unknown(self, use: str) -> FormatError:
        return FormatError(
            f"{type(self._module).__name__}.{self._name} is {use}, where adapters of fused experts are not run. Choose "
            'another implementation with model.set_experts_implementation("eager"), or leave the experts out of the '
            "targets."
        )


def _of_linear(weight: ExpertWeight, y: Tensor, x: Tensor, *others: Any, **named: Any) -> Tensor:
    return weight.run(x, y)


def _of_matmul(weight: ExpertWeight, y: Tensor, a: Any, b: Any) -> Tensor:
    return weight.run(a, y) if b is weight else weight.run(b.mT, y.mT).mT


def _of_grouped(weight: ExpertWeight, y: Tensor, x: Tensor, *others: Any, offs: Tensor, **named: Any) -> Tensor:
    experts = torch.bucketize(torch.arange(x.shape[0], device=x.device), offs, right=True)
    return weight.run_grouped(x, y, experts.clamp(max=offs.shape[0] - 1), offs)


FACTS = frozenset(
    {"shape", "dtype", "device", "layout", "ndim", "is_cuda", "is_cpu", "is_meta", "requires_grad"}
    | {"size", "stride", "dim", "numel", "data_ptr", "is_contiguous", "is_floating_point", "get_device"}
)
"""Attributes of a tensor that say what it is like."""

TRANSPOSED = frozenset({"T", "mT"})
"""Attributes of a tensor that are the same weights in another form."""

FORMS = frozenset({"t", "transpose", "permute", "view", "contiguous", "to", "type_as", "float"})
"""Methods of a tensor that give the same weights in another form."""

PRODUCTS: Mapping[str, Callable[..., Tensor]] = {
    "linear": _of_linear,
    "matmul": _of_matmul,
    "__matmul__": _of_matmul,
    "mm": _of_matmul,
    "bmm": _of_matmul,
    "grouped_mm": _of_grouped,
    "_grouped_mm": _of_grouped,
    "grouped_mm_fallback": _of_grouped,
}
"""The functions that multiply with a weight, by their names, and what makes of their arguments the rows multiplied."""

_SEAM = ExpertsSeam()
seam_of.register(ExpertsAdapter, lambda adapter: _SEAM)
