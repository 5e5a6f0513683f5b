"""Law 9: routes rows right, or refuses."""

import torch
from torch import Tensor, nn

from ...adapters import Adapter
from ...adapters.routing import route
from ...errors import InarchError
from ..case import Case, difference, logits, perturb
from ..verdict import NotApplicable, require

ROWS = ("a", None, "b")
ROUNDING = 1e-9
"""What a row in a batch and the same row alone may differ by in float64."""


def routes_rows(case: Case) -> None:
    """In one batch, each row is answered by its own adapter as if it were alone, or the method refuses to be routed.

    Two adapters of the method are held against the base, each row against a batch of that row only, in float64.
    """
    case = case.precise()
    model = case.base()
    attached = {name: case.attach(model, name) for name in ("a", "b")}
    for seed, adapter in enumerate(attached.values()):
        perturb(adapter, seed=seed)
    batch = case.inputs(rows=len(ROWS))
    alone = [_alone(model, attached, name, _row(batch, index)) for index, name in enumerate(ROWS)]
    try:
        with route(model, ROWS):
            together = logits(model, batch)
    except InarchError as error:
        _require_untouched(model, attached, batch, alone)
        raise NotApplicable(f"Routing is refused: {error}") from error
    for index, (name, expected) in enumerate(zip(ROWS, alone, strict=True)):
        changed = difference(together[index : index + 1], expected)
        who = f'the adapter "{name}"' if name else "the base"
        require(changed <= ROUNDING, f"Row {index}, which {who} answers, differs by {changed:.1e} from the row alone.")
    _require_untouched(model, attached, batch, alone)


def _alone(model: nn.Module, attached: dict[str, Adapter], name: str | None, batch: dict[str, Tensor]) -> Tensor:
    for other, adapter in attached.items():
        adapter.enabled = other == name
    return logits(model, batch)


def _row(batch: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: value[index : index + 1] for name, value in batch.items()}


def _require_untouched(
    model: nn.Module, attached: dict[str, Adapter], batch: dict[str, Tensor], alone: list[Tensor]
) -> None:
    again = [_alone(model, attached, name, _row(batch, index)) for index, name in enumerate(ROWS)]
    same = all(torch.equal(one, other) for one, other in zip(again, alone, strict=True))
    require(same, "After routing, the adapters answer otherwise than before.")
