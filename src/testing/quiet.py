"""Silence, and a generator of one's own, while a law is held."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..training.quiet import quiet_transformers

LOGGERS = ("bitsandbytes", "torch.__trace")


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, libraries neither warn nor log, and what is drawn leaves PyTorch's generator outside as it is.

    A law answers by its outcome. What transformers, bitsandbytes and the compiler say besides is about the tiny models.
    """
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        with quiet_transformers():
            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.ERROR)
            try:
                yield
            finally:
                for name, level in levels.items():
                    logging.getLogger(name).setLevel(level)
