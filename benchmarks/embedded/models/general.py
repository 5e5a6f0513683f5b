"""General loss: what a base still knows of its pretraining when another backbone stands in its place."""

import copy

import torch
from torch import nn

from inarch_benchmarks.comparison.examples import Examples

BATCH_SIZE = 250


def with_backbone(model: nn.Module, backbone: nn.Module) -> nn.Module:
    """A model like a pretraining model of transformers, with ``backbone`` in place of its own.

    It shares every module with the two, and neither is changed.
    """
    other = copy.copy(model)
    other.__dict__["_modules"] = dict(model._modules)
    setattr(other, str(model.base_model_prefix), backbone)
    return other


def mean_loss(model: nn.Module, examples: Examples) -> float:
    """The model's own loss in nats for each label that is not -100."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in examples.batches(BATCH_SIZE):
            labels = int((batch["labels"] != -100).sum())
            total += float(model(**batch).loss) * labels
            count += labels
    return total / count
