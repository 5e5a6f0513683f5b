"""Law 2: starts from the base."""

from ..case import Case, difference, logits
from ..verdict import NotApplicable, require

ROUNDING = 1e-10
"""What two computations of one result in float64 may differ by."""


def starts_from_the_base(case: Case) -> None:
    """Right after it is attached, the model answers as the base does, unless the method declares otherwise.

    It is held in float64 up to rounding, since a method may start from the base as a difference of equal terms.
    """
    if not case.method.starts_from_base:
        raise NotApplicable("It declares starts_from_base = False.")
    case = case.precise()
    model = case.base()
    before = logits(model, case.batch())
    case.attach(model)
    changed = difference(logits(model, case.batch()), before)
    require(
        changed <= ROUNDING,
        f"Attached, it changes the answers by {changed:.1e} of the largest before anything is trained. "
        "Start a factor at zero, or declare starts_from_base = False.",
    )
