"""The metrics of GLUE, for guesses and labels of shape (rows,)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def accuracy(guesses: Tensor, labels: Tensor) -> float:
    """Share of the rows that are right."""
    return float((guesses == labels).double().mean())


def f1(guesses: Tensor, labels: Tensor) -> float:
    """F1 of class 1 of two; 0 where it is neither guessed nor there."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels.numpy(), guesses.numpy(), zero_division=0))


def matthews(guesses: Tensor, labels: Tensor) -> float:
    """Matthews' correlation; 0 where all guesses are one."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels.numpy(), guesses.numpy()))


def pearson(guesses: Tensor, labels: Tensor) -> float:
    """Pearson's correlation; 0 where one side does not vary, and has none."""
    one, other = guesses.double() - guesses.double().mean(), labels.double() - labels.double().mean()
    scale = torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other)
    return float(one @ other / scale) if scale > 0 else 0.0


def spearman(guesses: Tensor, labels: Tensor) -> float:
    """Pearson's correlation of the ranks, equal values sharing their mean rank."""
    from scipy.stats import rankdata

    return pearson(*(torch.as_tensor(rankdata(side.numpy())) for side in (guesses, labels)))


METRICS: Mapping[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
