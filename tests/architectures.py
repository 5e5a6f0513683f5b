"""Tiny models of any architecture that transformers can build, by the arena's keys."""

import warnings

import torch
from torch import nn

from inarch_benchmarks.arena.catalogue import entries

ENTRIES = {entry.key: entry for entry in entries()}


def made(key: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of its own deprecations, and of sizes as small as these
        return ENTRIES[key].model()


def run(key: str, model: nn.Module) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model(**ENTRIES[key].batch())
