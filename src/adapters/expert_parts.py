"""Fused experts: modules that hold the projections of all experts as one parameter each."""

from torch import nn

from .site import ExpertsShape

_ROLES_OF_PROJECTION = {
    "gate_up_proj": frozenset({"mlp.gate", "mlp.up"}),
    "gate_proj": frozenset({"mlp.gate"}),
    "up_proj": frozenset({"mlp.up"}),
    "down_proj": frozenset({"mlp.down"}),
}


def experts_shape(module: nn.Module) -> ExpertsShape | None:
    """The shape of ``module`` if it is fused experts: parameters of shape (experts, ., .), one called ``down_proj``."""
    matrices = {
        key: parameter
        for key, parameter in module._parameters.items()
        if parameter is not None and parameter.dim() == 3 and key in _ROLES_OF_PROJECTION
    }
    if "down_proj" not in matrices:
        return None
    count = int(matrices["down_proj"].shape[0])
    transposed = bool(getattr(module, "is_transposed", False))
    projections = {}
    for key, parameter in matrices.items():
        _, first, second = parameter.shape
        projections[key] = (int(first), int(second)) if transposed else (int(second), int(first))
    return ExpertsShape(count, projections, transposed)


def experts_roles(shape: ExpertsShape) -> frozenset[str]:
    """What fused experts are in the model."""
    return frozenset({"linear", "expert", "sublayer.output"}).union(
        *(_ROLES_OF_PROJECTION[key] for key in shape.projections)
    )
