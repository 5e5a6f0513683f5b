"""Fused experts: modules that hold the projections of all experts as one parameter each."""

from collections.abc import Callable, Mapping

from torch import nn

from ..quant.quantised_experts import logical_shape
from .site import ExpertsShape

_PROJECTIONS = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")
_ALONE = "weight"
_UPS_IN = {"gate_up_proj": 2, "gate_proj": 1, "up_proj": 1}


def experts_shape(module: nn.Module) -> ExpertsShape | None:
    """The shape of ``module`` if it is fused experts, or one projection of them; else ``None``.

    Fused experts own parameters of shape (experts, ., .) under the names of projections. A projection on its own is a
    ``weight`` of that shape in a module that tells its number of experts. What is there for a different number of
    experts than the rest, such as ones that compute nothing, is left out.
    """
    shapes = {key: logical_shape(parameter) for key, parameter in module._parameters.items() if parameter is not None}
    stacked = {key: (int(shape[0]), int(shape[1]), int(shape[2])) for key, shape in shapes.items() if len(shape) == 3}
    if _ALONE in stacked and stacked[_ALONE][0] == getattr(module, "num_experts", None):
        count, out_features, in_features = stacked[_ALONE]
        return ExpertsShape(count, {_ALONE: (in_features, out_features)}, False)
    if "down_proj" not in stacked:
        return None
    count = stacked["down_proj"][0]
    matrices = {key: stacked[key][1:] for key in _PROJECTIONS if key in stacked and stacked[key][0] == count}
    transposed = _is_transposed(module, matrices)
    return ExpertsShape(count, {key: size if transposed else size[::-1] for key, size in matrices.items()}, transposed)


def _is_transposed(module: nn.Module, matrices: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the parameters are (count, in, out): as the module says, or as the sizes of two projections agree."""
    declared = getattr(module, "is_transposed", None)
    if isinstance(declared, bool):
        return declared
    first, second = matrices["down_proj"]
    for key, ups in _UPS_IN.items():
        if key in matrices and matrices[key] == (ups * second, first):
            return False
    return any(matrices.get(key) == (second, ups * first) for key, ups in _UPS_IN.items())


def experts_roles(name: str, shape: ExpertsShape, roles_of: Callable[[str], frozenset[str]]) -> frozenset[str]:
    """What fused experts are in the model: what each of their projections is."""
    names = [name] if _ALONE in shape.projections else list(shape.projections)
    return frozenset({"linear", "expert"}).union(*(roles_of(each) for each in names))
