"""Silence for what the libraries below print on their own; commands report it in their own words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = (
    # Importing bitsandbytes, which transformers' Trainer does by way of peft, warns on some processors that a faster
    # kernel could be downloaded. Nothing of the run uses it.
    "bitsandbytes.backends.cpu.ops",
    # The hub client says two lines for each of its five tries to reach the hub, and then raises an error all the same.
    "huggingface_hub",
)


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Inside, these loggers report errors only; afterwards they are as they were."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Inside, transformers and the hub client log errors only and show no progress bars; afterwards as they were."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with quiet_loggers(*_LOGGERS):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
