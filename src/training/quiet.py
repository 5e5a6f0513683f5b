"""Silence for what transformers prints on its own; the run reports it in its own words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Importing bitsandbytes, which transformers' Trainer does by way of peft, warns on some processors that a faster kernel
# could be downloaded. Nothing of the run uses it.
_BITSANDBYTES = logging.getLogger("bitsandbytes.backends.cpu.ops")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Inside, transformers logs errors only and shows no progress bars; afterwards it is as it was."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    level = _BITSANDBYTES.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    _BITSANDBYTES.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _BITSANDBYTES.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
