"""Several things are made of one by copies of this process, beside each other."""

import multiprocessing
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from inarch_benchmarks.comparison.surroundings import processors

Of = TypeVar("Of")
Made = TypeVar("Made")

_given: list[Any] = []
"""In a copy: the makers, and what they make something of."""


def made_by_copies(makers: Sequence[Callable[[Of], Made]], of: Of) -> list[Made]:
    """What each maker makes of ``of``, in their order; by copies of this process, one a core, where that is safe.

    A copy has what is loaded and what is given, where a new process would take longer to import torch than to draw. It
    is safe on Linux while there is one Python thread: a lock that another one holds would stay closed in the copy.
    """
    workers = min(processors(), len(makers))
    if sys.platform != "linux" or workers < 2 or threading.active_count() > 1:
        return [make(of) for make in makers]
    context = multiprocessing.get_context("fork")
    try:
        with warnings.catch_warnings():
            # Python 3.12 and later warn of torch's threads too, which sleep and hold nothing that drawing needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            with ProcessPoolExecutor(workers, context, _take, (makers, of)) as pool:
                return list(pool.map(_make, range(len(makers))))
    except BrokenProcessPool:  # a copy was killed, such as for memory: one process needs less
        return [make(of) for make in makers]


def _take(*given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process tells of an interruption
    _given[:] = given


def _make(index: int) -> Any:
    makers, of = _given
    return makers[index](of)
