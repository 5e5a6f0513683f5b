"""Whether a contender computes what the reference does: its first loss, the gradients of its adapters, an overfit."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .build import batch
from .contenders import Contender

LOSS = 1e-2
"""How far the first loss may lie from the reference's, relative to it."""

COSINE = 0.999
"""What the cosine of the gradients of all adapters must be above."""

OVERFIT = 2e-2
"""How far the loss after the overfit may lie from the reference's, relative to it."""


def measure(contender: Contender, size: tuple[int, int], steps: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The first loss, the last of so many steps on one batch, and the gradients before the first."""
    sequence, rows = size
    example = batch(contender.task.shape, rows, sequence, contender.task.device, seed=1)
    loss = contender.loss(example)
    loss.backward()
    gradients = {
        name: parameter.grad.detach().float().cpu()
        for name, parameter in contender.factors().items()
        if parameter.grad is not None
    }
    contender.optimizer.zero_grad()
    losses = [float(contender.step(example)) for _ in range(steps)]
    found = {"first_loss": float(loss.detach()), "last_loss": float(contender.loss(example).detach()), "losses": losses}
    return found, gradients


def again(contender: Contender) -> None:
    """The adapters and the optimizer as they were at the beginning."""
    contender.optimizer.zero_grad()
    contender.set_factors()
    contender.optimizer = contender.new_optimizer()


def compared(found: dict[str, Any], gradients: dict[str, Tensor], reference: Path) -> dict[str, Any]:
    """What lies between ``found`` and the reference, and whether that is within the tolerances.

    Args:
        found: As ``measure`` gives it.
        gradients: Likewise.
        reference: Where ``keep`` wrote the reference; without it nothing is compared.
    """
    if not reference.exists():
        return {**found, "passed": None, "reason": "there is no reference: it did not run"}
    expected = torch.load(reference, weights_only=True)
    differences = {
        "loss": abs(found["first_loss"] / expected["found"]["first_loss"] - 1),
        "cosine": cosine(gradients, expected["gradients"]),
        "overfit": abs(found["last_loss"] / expected["found"]["last_loss"] - 1),
    }
    passed = differences["loss"] <= LOSS and differences["cosine"] > COSINE and differences["overfit"] <= OVERFIT
    return {**found, "differences": differences, "passed": passed}


def keep(found: dict[str, Any], gradients: dict[str, Tensor], reference: Path) -> None:
    """Write the reference."""
    torch.save({"found": found, "gradients": gradients}, reference)


def cosine(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Of the gradients of all adapters taken as one vector; zero if they are not of the same adapters."""
    if first.keys() != second.keys():
        return 0.0
    product, norms = 0.0, [0.0, 0.0]
    for name, gradient in first.items():
        a, b = gradient.double().flatten(), second[name].double().flatten()
        product += float(a @ b)
        norms = [norms[0] + float(a @ a), norms[1] + float(b @ b)]
    return product / (norms[0] * norms[1]) ** 0.5 if all(norms) else 0.0
