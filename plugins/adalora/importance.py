"""The importance of triplets, and pruning by it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inarch import TrainingError

from .triplets import Triplets


def measure(sites: Sequence[Triplets], beta1: float, beta2: float) -> None:
    """Take the gradients of this step into the averages.

    Importance is ``I = |w dL/dw|``, its sensitivity the average ``beta1 S + (1 - beta1) I`` and its uncertainty
    ``beta2 U + (1 - beta2) |I - S|``; arXiv:2303.10512, section 3.2. As in the authors' code, w is the parameter
    after the step, and the loss includes the penalty.

    Raises:
        TrainingError: There are no gradients.
    """
    parameters: list[Tensor] = [parameter for site in sites for parameter in (site.P, site.Lambda, site.Q)]
    if all(parameter.grad is None for parameter in parameters):
        raise TrainingError(
            "adalora measures importance by the gradients after each optimizer step, and there are none left: call "
            "zero_grad after optimizer.step(), not within it."
        )
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    importance = torch._foreach_abs(torch._foreach_mul(parameters, gradients))
    sensitivity = [average for site in sites for average in site.average("sensitivity")]
    torch._foreach_lerp_(sensitivity, importance, 1 - beta1)
    uncertainty = [average for site in sites for average in site.average("uncertainty")]
    torch._foreach_lerp_(uncertainty, torch._foreach_abs(torch._foreach_sub(importance, sensitivity)), 1 - beta2)


def scores(site: Triplets) -> Tensor:
    """The importance of each triplet, shape (rank,).

    ``s(Lambda_k) + mean of s(P_jk) + mean of s(Q_kj)`` with ``s = S U``; arXiv:2303.10512, section 3.2.
    """
    of_p, of_lambda, of_q = torch._foreach_mul(site.average("sensitivity"), site.average("uncertainty"))
    return of_lambda.squeeze(1) + of_p.mean(0) + of_q.mean(1)


def kept(sites: Sequence[Triplets], budget: int) -> list[Tensor]:
    """For each site which triplets are among the ``budget`` most important of all, as booleans of shape (rank,).

    Triplets that are as important as the first one left out are left out too, as in the authors' code.
    """
    found = [scores(site) for site in sites]
    everything = torch.cat([score.to(found[0].device) for score in found])
    left_out = everything.numel() - budget
    if left_out <= 0:
        return [torch.ones_like(score, dtype=torch.bool) for score in found]
    threshold = everything.sort().values[left_out - 1]
    return [score > threshold.to(score.device) for score in found]
