"""Law 10: resumed in the middle of its schedule, it goes on as if it had never stopped."""

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ...adapters import Adapter
from ..case import Case
from ..verdict import require

STEPS, STOP = 6, 3


def resumes(case: Case) -> None:
    """Saved after 3 of 6 steps and loaded onto a fresh base, it ends with the same parameters to the bit.

    The optimizer's state is carried over; whatever else the method needs must be in its own file.
    """
    case = case.for_steps(STEPS)
    expected = _uninterrupted(case)
    found = _interrupted(case)
    require(
        found.method == expected.method, f"Resumed, it ends as {found.method}; uninterrupted, as {expected.method}."
    )
    mine, theirs = _parameters(found), _parameters(expected)
    differing = [name for name in theirs if name not in mine or not torch.equal(mine[name], theirs[name])]
    require(
        not differing and mine.keys() == theirs.keys(),
        f"Resumed after {STOP} of {STEPS} steps, {len(differing)} of {len(theirs)} parameters end otherwise, such as "
        f"{next(iter(differing), 'none')}. What changes from step to step must be a parameter or a buffer.",
    )


def _uninterrupted(case: Case) -> Adapter:
    model = case.base()
    adapter = case.attach(model)
    case.train(model, case.optimizer(adapter), range(STEPS))
    return adapter


def _interrupted(case: Case) -> Adapter:
    model = case.base()
    adapter = case.attach(model)
    optimizer = case.optimizer(adapter)
    case.train(model, optimizer, range(STOP))
    state = copy.deepcopy(optimizer.state_dict())
    with tempfile.TemporaryDirectory() as place:
        adapter.save(Path(place, "adapter"))
        model = case.base()
        adapter = case.load(model, Path(place, "adapter"))
    optimizer = case.optimizer(adapter)
    optimizer.load_state_dict(state)
    case.train(model, optimizer, range(STOP, STEPS))
    return adapter


def _parameters(adapter: Adapter) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in adapter.named_parameters()}
