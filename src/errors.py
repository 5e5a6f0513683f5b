"""Every error Inarch raises on purpose, on one page.

    InarchError
    ├── ConfigError             a value of a method or a run that cannot be
    ├── DataError               the data: unreadable, empty, a wrong column, labels that do not fit
    ├── ModelError              the base model: not found, no weights, of the wrong kind
    ├── RegistryError           the plugins
    │   ├── UnknownNameError        no method, task or adapter of that name
    │   ├── DuplicateNameError      two plugins, or two adapters, of one name
    │   └── InvalidPluginError      a plugin that does not keep the contract
    ├── PlanError               an attachment that was refused; the model is untouched
    │   ├── TargetError             targets that match nothing, or nothing the method can adapt
    │   └── FormatError             a weight format that cannot do what was asked
    ├── MergeError              a merge or unmerge that cannot be done; the model is untouched
    ├── RouteError              a batch whose rows cannot be given to different adapters
    ├── DetachedError           an adapter handle used after its adapter was detached
    ├── CheckpointError         a file that cannot be read or written as a checkpoint
    │   ├── CheckpointKeyError      missing, unexpected or mis-shaped tensors
    │   ├── WrongBaseError          a checkpoint of another base model
    │   └── MissingPluginError      a checkpoint of a method that is not installed here
    └── TrainingError           a run that cannot go on, such as one whose loss is NaN

Every message names the thing, shows what was there and says what to do. Warnings are of ``InarchWarning``.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InarchError(Exception):
    """The root of the tree: catch it to catch whatever Inarch refuses."""


class InarchWarning(UserWarning):
    """The root of Inarch's warnings; on the command line each is one line."""


class ConfigError(InarchError, ValueError):
    """A value of a method's or a run's configuration that cannot be."""


class DataError(InarchError, ValueError):
    """Data that cannot be used: unreadable, empty, a wrong column, labels that do not fit."""


class ModelError(InarchError, ValueError):
    """A base model that cannot be used: not found, without weights, of the wrong kind."""


class RegistryError(InarchError):
    """What goes wrong between the registry and its plugins."""


class UnknownNameError(RegistryError, KeyError):
    """No method, task or adapter of that name."""

    __str__ = Exception.__str__  # KeyError would print the repr of the message


class DuplicateNameError(RegistryError, ValueError):
    """Two plugins, or two adapters of one model, of one name."""


class InvalidPluginError(RegistryError, TypeError):
    """A plugin that does not keep the contract."""


class PlanError(InarchError, ValueError):
    """An attachment that was refused; the model is untouched."""


class TargetError(PlanError):
    """Targets that match nothing, or nothing that the method can adapt."""


class FormatError(PlanError, TypeError):
    """A weight format that cannot do what was asked of it."""


class MergeError(InarchError, RuntimeError):
    """A merge or unmerge that cannot be done; the model is untouched."""


class RouteError(InarchError, RuntimeError):
    """A batch whose rows cannot be given to different adapters."""


class DetachedError(InarchError, RuntimeError):
    """An adapter handle that was used after its adapter was detached."""


class CheckpointError(InarchError, OSError):
    """A file that cannot be read or written as a checkpoint."""


class CheckpointKeyError(CheckpointError):
    """Missing, unexpected or mis-shaped tensors."""


class WrongBaseError(CheckpointError):
    """A checkpoint that was trained on another base model."""


class MissingPluginError(CheckpointError, RegistryError):
    """A checkpoint of a method that no installed plugin provides."""


class TrainingError(InarchError, RuntimeError):
    """A run that cannot go on, such as one whose loss is NaN."""


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: ``did you mean "lora"? Available: bitfit, lora.``."""
    names = sorted(known)
    close = get_close_matches(wrong, names, n=1)
    guess = f'did you mean "{close[0]}"? ' if close else ""
    return f"{guess}Available: {', '.join(names) or 'none'}."


def shortened(names: Iterable[str], shown: int = 5) -> str:
    """A list for a message: the first few names and how many more there are."""
    everything = list(names)
    more = f" and {len(everything) - shown} more" if len(everything) > shown else ""
    return ", ".join(everything[:shown]) + more
