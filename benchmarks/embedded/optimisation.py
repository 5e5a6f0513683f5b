"""The training loop that every pretraining and the demo's adaptation share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inarch_benchmarks.comparison.examples import Examples

WARM_UP = 0.1
"""Share of the steps over which the learning rate rises."""


@dataclass(frozen=True)
class Optimisation:
    """How weights are trained: AdamW on the model's own loss, gradients clipped to norm 1.

    Attributes:
        learning_rate: The highest; it rises to it linearly and falls to zero linearly.
        steps: Number of optimizer steps.
        batch_size: Examples a step.
        weight_decay: Of AdamW.
    """

    learning_rate: float
    steps: int
    batch_size: int
    weight_decay: float = 0.0


def optimise(
    model: nn.Module,
    parameters: Iterable[nn.Parameter],
    examples: Examples,
    recipe: Optimisation,
    *,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Train ``parameters`` of a model, in place.

    Args:
        model: Gives an output with ``loss`` for a batch of the examples.
        parameters: What is trained.
        examples: Labels are among the arguments that they hold.
        recipe: How.
        seed: Of the order of the examples.
        on_step: Called after every step.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step / recipe.steps))
    order = _order(len(examples), recipe.steps * recipe.batch_size, seed)
    model.train()
    for batch in order.split(recipe.batch_size):
        loss = model(**examples.batch(batch)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        scheduler.step()
        on_step()
    model.eval()


def rate_at(progress: float) -> float:
    """The learning rate as a share of the highest, when a share ``progress`` of the steps is done."""
    return min((progress + 0.01) / WARM_UP, (1 - progress) / (1 - WARM_UP), 1.0)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images that the model gives the right label."""
    with torch.inference_mode():
        return float((model(images).logits.argmax(-1) == labels).float().mean())


def _order(examples: int, wanted: int, seed: int) -> Tensor:
    """Indices of ``wanted`` examples: each once, in some order, then each again in another order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randperm(examples, generator=generator) for _ in range(-(-wanted // examples))])[:wanted]
