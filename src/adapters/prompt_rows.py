"""The vectors of a prompt, for a batch whose rows share them or have each its own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..errors import RouteError
from .slot import Slot

KEY = "prompt"
"""Name of the prompt seam in the slots."""


@dataclass(frozen=True)
class Prompt:
    """Vectors that stand before the embedded tokens.

    Attributes:
        vectors: Shape (rows, length, hidden size), where rows is 1 for a prompt that all rows share.
        lengths: How many of them each row has, shape (rows, 1); ``None`` if each has all.
    """

    vectors: Tensor
    lengths: Tensor | None = None

    @property
    def length(self) -> int:
        """How many places they take."""
        return self.vectors.shape[1]

    @property
    def own(self) -> Tensor | int:
        """How many of them each row has."""
        return self.length if self.lengths is None else self.lengths

    def of(self, batch: int) -> "Prompt":
        """The prompt of each of ``batch`` rows.

        Raises:
            RouteError: They are other rows than those that adapters were named for.
        """
        rows = self.vectors.shape[0]
        repeats, rest = divmod(batch, rows)
        if rows == 1 or (repeats == 1 and not rest):
            return self
        if rest or not repeats:
            raise RouteError(
                f"The model has a batch of {batch} rows and {rows} adapters were named: name one adapter (or None) for "
                "each row."
            )
        lengths = None if self.lengths is None else self.lengths.repeat_interleave(repeats, 0)
        return Prompt(self.vectors.repeat_interleave(repeats, 0), lengths)


def prompt_of(slot: Slot) -> Prompt | None:
    """The prompt of the adapters that are on, in the order they were attached; ``None`` if none is.

    While ``route`` is on it is the prompt of each row's own adapter.
    """
    if slot.rows is not None:
        return slot.rows.once(slot, KEY, _prompt_of_rows)  # type: ignore[no-any-return]
    adapters: Any = slot._modules
    vectors: list[Tensor] = [
        adapters[name].forward() for name, switch in slot.switches.get(KEY, {}).items() if switch.on
    ]
    return Prompt(torch.cat(vectors).unsqueeze(0)) if vectors else None


def _prompt_of_rows(slot: Slot) -> Prompt | None:
    names = slot.rows.present(slot, KEY)
    if not names:
        return None
    adapters: Any = slot._modules
    vectors: dict[str, Tensor] = {name: adapters[name].forward() for name in names}
    together = pad_sequence(list(vectors.values()), batch_first=True)
    rows = [names.index(name) if name in vectors else 0 for name in slot.rows.names]
    own = [len(vectors[name]) if name in vectors else 0 for name in slot.rows.names]
    lengths = None if min(own) == max(own) else torch.tensor(own, device=together.device).unsqueeze(1)
    return Prompt(together[torch.tensor(rows, device=together.device)], lengths)
