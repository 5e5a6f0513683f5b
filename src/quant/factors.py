"""A change of a linear map that is given by thin matrices."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """The weight ``V = W + scale B A``, or with a magnitude m ``m / ||V|| V``; every tensor differentiable.

    Attributes:
        B: Shape (out_features, rank).
        A: Shape (rank, in_features).
        scale: What the product is multiplied by.
        dropout: Probability that a feature of x is dropped before A, now.
        magnitude: Shape (out_features,): the norm of the weights of each output, as in DoRA (arXiv:2402.09353,
            equation 5); ``||V||`` is a constant in the gradient there (section 4.3).
    """

    B: Tensor
    A: Tensor
    scale: float = 1.0
    dropout: float = 0.0
    magnitude: Tensor | None = None
