"""A job on its way: packed into bytes here, computed there, its result or error packed and brought back."""

import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import torch

from inarch import PluginWarning, TrainingError


def pack(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """A job as bytes; what cannot be pickled is refused here rather than in a worker."""
    return pickle.dumps((function, arguments))


def compute(job: bytes) -> bytes:
    """Compute a packed job; an error becomes part of the answer. Called in a worker."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", PluginWarning)  # the process that submits has said it
    try:
        function, arguments = pickle.loads(job)
        return pickle.dumps((function(*arguments), None))
    except (Exception, SystemExit) as error:
        return _packed(error)


def unpack(answer: bytes) -> Any:
    """The result of a job, or its error raised."""
    result, error = pickle.loads(answer)
    if error is not None:
        raise error
    return result


def _packed(error: BaseException) -> bytes:
    """An error as bytes, with the worker's traceback as a note; one that cannot be pickled is told in words."""
    told = TrainingError(f"{type(error).__name__}: {error}")
    for each in (error, told):
        each.add_note("".join(traceback.format_exception(error)))
        if isinstance(each, Exception) and _survives(each):
            break
    return pickle.dumps((None, each))


def _survives(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # whatever a stranger's error does when it is pickled
        return False
