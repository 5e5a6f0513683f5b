"""Law 6: merges to the same function, or says no."""

import torch

from ...errors import MergeError, shortened
from ..case import Case, difference, logits, perturb
from ..traces import Traces
from ..verdict import NotApplicable, require

ROUNDING = 1e-9
"""What adding to the weights first and adding to the outputs may differ by in float64."""


def merges(case: Case) -> None:
    """Merged into the weights it is the same function; unmerged, the base and the adapter are back to the bit.

    It is held in float64. A method that has no weight delta says no with a ``MergeError``, and nothing has changed.
    """
    case = case.precise()
    model = case.base()
    plain, before = logits(model, case.batch()), Traces.of(model)
    adapter = case.attach(model)
    perturb(adapter)
    answer = logits(model, case.batch())
    try:
        adapter.merge()
    except MergeError as error:
        require(torch.equal(logits(model, case.batch()), answer), "It said no to merging, and yet the answers changed.")
        raise NotApplicable(f"Merging is refused: {error}") from error
    changed = difference(logits(model, case.batch()), answer)
    require(
        changed <= ROUNDING, f"Merged, its answers differ by {changed:.1e} of the largest: its delta is another map."
    )
    with adapter.disabled():
        require(
            torch.equal(logits(model, case.batch()), plain), "Merged and disabled, it answers otherwise than the base."
        )
    adapter.unmerge()
    require(torch.equal(logits(model, case.batch()), answer), "Unmerged, it answers otherwise than before the merge.")
    adapter.merge()
    adapter.detach()
    traces = Traces.of(model).changed_since(before)
    require(not traces, f"Detached after a merge, the base is not what it was: {shortened(traces)}.")
