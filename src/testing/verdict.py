"""What became of one law on one model."""

# ruff: noqa: N818 - these end a law, and most of them are no errors

from enum import StrEnum
from typing import ClassVar


class Outcome(StrEnum):
    """The outcomes, from the best to the worst."""

    HELD = "held"
    NOT_APPLICABLE = "not applicable"
    REFUSED = "refused"
    NOT_RUN = "not run"
    BROKEN = "broken"


class Verdict(Exception):
    """Ends a law before its end, with another outcome than that it holds; the message is the reason."""

    outcome: ClassVar[Outcome]


class NotApplicable(Verdict):
    """The law says nothing of this method on this model, such as of a merge that the method says no to."""

    outcome = Outcome.NOT_APPLICABLE


class Refused(Verdict):
    """The method said no when it was attached to the model, as it may: with an error of Inarch's."""

    outcome = Outcome.REFUSED


class NotRun(Verdict):
    """The law could not be tried here, such as for want of a library; nothing is known."""

    outcome = Outcome.NOT_RUN


class Broken(Verdict):
    """The law does not hold; the message says how that showed."""

    outcome = Outcome.BROKEN


def require(holds: bool, otherwise: str) -> None:
    """Go on if it holds.

    Raises:
        Broken: It does not; the message is ``otherwise``.
    """
    if not holds:
        raise Broken(otherwise)
