"""An adapter inside fused experts."""

from abc import abstractmethod

from torch import Tensor

from .site_adapter import SiteAdapter


class ExpertsAdapter(SiteAdapter):
    """An adapter of the projections of fused experts, on the tokens that are routed to each.

    Its ``delta`` names the projections' parameters in ``others``, in their own shapes.
    """

    @abstractmethod
    def forward(self, projection: str, x: Tensor, y: Tensor, experts: Tensor, ends: Tensor) -> Tensor:
        """The adapted output of one projection; rows are routed tokens, sorted by expert.

        Args:
            projection: Name of the projection's parameter, a key of ``site.experts.projections``.
            x: What it was given, shape (rows, in_features).
            y: What its weight gave, shape (rows, out_features); a bias is added afterwards.
            experts: The expert of each row, shape (rows,), ascending.
            ends: Where each expert's rows end, shape (count,), int32: expert e has rows ends[e - 1] to ends[e].

        Returns:
            The adapted output, of the shape and dtype of ``y``.
        """
