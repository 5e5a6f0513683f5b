"""Law 4: survives a file, strictly."""

import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ...adapters.checkpoint import TENSORS
from ...errors import CheckpointKeyError
from ..case import Case, logits, perturb
from ..verdict import Broken, require

STEPS, SAVED_AT = 6, 2


def survives_a_file(case: Case) -> None:
    """Saved and loaded onto a fresh base it answers the same, to the bit; a missing or unexpected tensor is refused."""
    case = case.for_steps(STEPS)
    model = case.base()
    adapter = case.attach(model)
    perturb(adapter)
    case.train(model, case.optimizer(adapter), range(SAVED_AT))
    answer = logits(model, case.batch())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "adapter")
        adapter.save(folder)
        fresh = case.base()
        loaded = case.load(fresh, folder)
        require(loaded.method == adapter.method, f"It comes back as {loaded.method}, and was {adapter.method}.")
        require(loaded.num_trainable == adapter.num_trainable, "It comes back with another number of parameters.")
        require(
            torch.equal(logits(fresh, case.batch()), answer),
            "Loaded, it answers otherwise than before it was saved. What decides its answers must be a setting, a "
            "parameter or a buffer.",
        )
        _require_strictness(case, folder)


def _require_strictness(case: Case, folder: Path) -> None:
    path = folder / TENSORS
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        metadata = file.metadata()
    first = next(iter(tensors))
    missing = {key: value for key, value in tensors.items() if key != first}
    for changed, what in (
        (missing, f"without {first}"),
        (tensors | {f"{first}.more": torch.zeros(1)}, "with one more tensor"),
    ):
        save_file(changed, path, metadata)
        _require_refused(case, folder, what)


def _require_refused(case: Case, folder: Path, what: str) -> None:
    try:
        case.load(case.base(), folder)
    except CheckpointKeyError:
        return
    raise Broken(f"A file {what} is loaded without a word.")
