"""Linear maps by another name: classes that models write themselves, and that compute what ``nn.Linear`` does."""

from typing import Any

from torch import nn

from ..quant import weight_format
from .once import once_a_class
from .part_code import part_code


def is_linear_by_another_name(module: nn.Module) -> bool:
    """Whether a module owns a matrix, and a bias at most, as ``nn.Linear`` holds them, and computes its linear map.

    Its class then has the weight format of ``nn.Linear``. A router is none: what it gives is a choice, and no features.
    """
    weight = module._parameters.get("weight")
    if weight is None or weight.dim() != 2 or not module._parameters.keys() <= {"weight", "bias"}:
        return False
    bias = module._parameters.get("bias")
    if (bias is not None and bias.shape != weight.shape[:1]) or not _takes_its_weight(type(module)):
        return False
    _known(type(module))
    return True


@once_a_class
def _takes_its_weight(module_type: type[Any]) -> bool:
    code = part_code(module_type)
    return {"linear", "weight"} <= code.names and code.names.isdisjoint(_OF_CHOICES)


_OF_CHOICES = frozenset({"topk", "softmax", "sigmoid", "argmax", "gather", "one_hot"})


@once_a_class
def _known(module_type: type[Any]) -> bool:
    weight_format.register(module_type, weight_format.dispatch(nn.Linear))
    return True
