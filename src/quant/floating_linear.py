"""A linear map in floating point, in the place of a quantised one."""

from typing import Self

from torch import Tensor, nn
from torch.nn import functional


class FloatingLinear(nn.Linear):
    """``y = W x + b``, computed in the dtype of W and given in that of x, as quantised layers do."""

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> Self:
        """The map of a weight (out_features, in_features) and a bias; both are frozen, unless they are parameters."""
        out_features, in_features = weight.shape
        linear = cls(in_features, out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            linear.bias = bias if isinstance(bias, nn.Parameter) else nn.Parameter(bias, requires_grad=False)
        return linear

    def forward(self, x: Tensor) -> Tensor:
        """The linear map."""
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)
        return functional.linear(x.to(self.weight.dtype), self.weight, bias).to(x.dtype)
