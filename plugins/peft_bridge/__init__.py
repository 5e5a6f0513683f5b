"""The bridge to Hugging Face peft: every method of the installed peft as ``peft/<name>``.

peft injects its own layers into the model; the bridge brings that under Inarch's contract. What peft offers is read
from its registry when one of these methods is first asked for, since importing peft takes seconds.

    settings.py     the fields of peft's configurations as settings
    sizes.py        the fields that are sizes, and the learning rates to be tuned over
    methods.py      a method for each configuration
    skeleton.py     copies of a model that an injection is tried on
    changes.py      what an injection changed, undone and redone
    weights.py      the base weights that an injection writes to
    injection.py    one injection
    route.py        calls of the model that go through peft's forward
    adapter.py      the adapter
    files.py        checkpoints
    support.py      what peft can do with each method, found by trying
    record.py       what was found, kept
"""

from typing import Any

import inarch


@inarch.hookimpl
def register_families(register: Any) -> None:
    """Bring peft's methods, once they are asked for."""

    def methods() -> Any:
        from .methods import every_method  # here, since it imports peft

        return every_method()

    register("peft", methods)
