"""Silence, and a generator of one's own, while a law is held."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..training.quiet import quiet_loggers, quiet_transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, libraries neither warn nor log, and what is drawn leaves PyTorch's generator outside as it is.

    A law answers by its outcome. What transformers, bitsandbytes and the compiler say besides is about the tiny models.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        with quiet_transformers(), quiet_loggers("bitsandbytes", "torch.__trace"):
            yield
